//! `wasi:filesystem`, read-only: what reads is Wasmtime's behind a fence, what writes is refused here already.

use std::path::Path;

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, Filesize, HostDescriptor,
    HostDirectoryEntryStream, MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult, ReaddirIterator};

use super::wasi::open_handles;
use crate::limits::{MAX_FILES, MAX_LISTINGS};
use crate::state::RunState;

impl RunState {
    /// Whether a path beneath a directory may be opened or looked at; if so, how links in it are treated.
    fn permit(&mut self, directory: &Resource<Descriptor>, path: &str, follow: PathFlags) -> FsResult<PathFlags> {
        if let Some(root) = self.roots.get(&directory.rep()) {
            self.job.assignment.grants.note_file(&Path::new(root).join(path));
        }
        let Some(fence) = self.fenced.get(&directory.rep()) else { return Ok(follow) };
        match fence.permits(path) {
            // A link out of a single file leads to what is not granted, wherever it leads.
            Ok(()) => Ok(PathFlags::empty()),
            Err(denied) => {
                self.trace.deny(denied);
                Err(ErrorCode::Access.into())
            }
        }
    }

    fn permit_whole(&self, directory: &Resource<Descriptor>) -> FsResult<()> {
        if self.fenced.contains_key(&directory.rep()) { Err(ErrorCode::Access.into()) } else { Ok(()) }
    }
}

/// Nothing that is granted can be written to.
fn refuse<T>() -> FsResult<T> {
    Err(ErrorCode::ReadOnly.into())
}

impl preopens::Host for RunState {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Descriptor>, String)>> {
        let mut directories = Vec::with_capacity(self.preopens.len());
        for preopen in self.preopens.clone() {
            let directory = self.table.push(Descriptor::Dir(preopen.directory))?;
            if let Some(fence) = preopen.fence {
                self.fenced.insert(directory.rep(), fence);
            }
            if self.job.assignment.grants.are_watched() {
                self.roots.insert(directory.rep(), preopen.path.clone());
            }
            directories.push((directory, preopen.path));
        }
        Ok(directories)
    }
}

impl types::Host for RunState {
    fn convert_error_code(&mut self, error: FsError) -> Result<ErrorCode> {
        self.filesystem().convert_error_code(error)
    }

    fn filesystem_error_code(&mut self, error: Resource<wasmtime::Error>) -> Result<Option<ErrorCode>> {
        self.filesystem().filesystem_error_code(error)
    }
}

impl HostDescriptor for RunState {
    async fn open_at(
        &mut self,
        directory: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
        how: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Resource<Descriptor>> {
        let follow = self.permit(&directory, &path, follow)?;
        if open_handles::<Descriptor>(&mut self.table) >= MAX_FILES {
            return Err(ErrorCode::Quota.into());
        }
        // To open a pipe or a device may take for ever, and would hold a thread so long.
        let looked = Resource::new_borrow(directory.rep());
        let found = self.filesystem().stat_at(looked, follow, path.clone()).await;
        if let Ok(found) = found
            && !matches!(
                found.type_,
                DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
            )
        {
            return Err(ErrorCode::Unsupported.into());
        }
        self.filesystem().open_at(directory, follow, path, how, flags).await
    }

    async fn read_directory(&mut self, directory: Resource<Descriptor>) -> FsResult<Resource<ReaddirIterator>> {
        self.permit_whole(&directory)?;
        if open_handles::<ReaddirIterator>(&mut self.table) >= MAX_LISTINGS {
            return Err(ErrorCode::Quota.into());
        }
        self.filesystem().read_directory(directory).await
    }

    async fn stat_at(
        &mut self,
        directory: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<DescriptorStat> {
        let follow = self.permit(&directory, &path, follow)?;
        self.filesystem().stat_at(directory, follow, path).await
    }

    async fn metadata_hash_at(
        &mut self,
        directory: Resource<Descriptor>,
        follow: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        let follow = self.permit(&directory, &path, follow)?;
        self.filesystem().metadata_hash_at(directory, follow, path).await
    }

    async fn readlink_at(&mut self, directory: Resource<Descriptor>, path: String) -> FsResult<String> {
        self.permit(&directory, &path, PathFlags::empty())?;
        self.filesystem().readlink_at(directory, path).await
    }

    async fn read(&mut self, file: Resource<Descriptor>, length: Filesize, at: Filesize) -> FsResult<(Vec<u8>, bool)> {
        self.filesystem().read(file, length, at).await
    }

    fn read_via_stream(&mut self, file: Resource<Descriptor>, at: Filesize) -> FsResult<Resource<DynInputStream>> {
        self.filesystem().read_via_stream(file, at)
    }

    async fn get_flags(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorFlags> {
        self.filesystem().get_flags(descriptor).await
    }

    async fn get_type(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorType> {
        self.filesystem().get_type(descriptor).await
    }

    async fn stat(&mut self, descriptor: Resource<Descriptor>) -> FsResult<DescriptorStat> {
        self.filesystem().stat(descriptor).await
    }

    async fn metadata_hash(&mut self, descriptor: Resource<Descriptor>) -> FsResult<MetadataHashValue> {
        self.filesystem().metadata_hash(descriptor).await
    }

    async fn is_same_object(&mut self, one: Resource<Descriptor>, other: Resource<Descriptor>) -> Result<bool> {
        self.filesystem().is_same_object(one, other).await
    }

    /// Advice is for the kernel's cache, which is no business of a guest's.
    async fn advise(&mut self, _: Resource<Descriptor>, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        Ok(())
    }

    fn drop(&mut self, descriptor: Resource<Descriptor>) -> Result<()> {
        self.fenced.remove(&descriptor.rep());
        HostDescriptor::drop(&mut self.filesystem(), descriptor)
    }

    // From here on, what would write.

    async fn write(&mut self, _: Resource<Descriptor>, _: Vec<u8>, _: Filesize) -> FsResult<Filesize> {
        refuse()
    }

    fn write_via_stream(&mut self, _: Resource<Descriptor>, _: Filesize) -> FsResult<Resource<DynOutputStream>> {
        refuse()
    }

    fn append_via_stream(&mut self, _: Resource<Descriptor>) -> FsResult<Resource<DynOutputStream>> {
        refuse()
    }

    async fn sync_data(&mut self, _: Resource<Descriptor>) -> FsResult<()> {
        refuse()
    }

    async fn sync(&mut self, _: Resource<Descriptor>) -> FsResult<()> {
        refuse()
    }

    async fn set_size(&mut self, _: Resource<Descriptor>, _: Filesize) -> FsResult<()> {
        refuse()
    }

    async fn set_times(&mut self, _: Resource<Descriptor>, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        refuse()
    }

    async fn set_times_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> FsResult<()> {
        refuse()
    }

    async fn create_directory_at(&mut self, _: Resource<Descriptor>, _: String) -> FsResult<()> {
        refuse()
    }

    async fn remove_directory_at(&mut self, _: Resource<Descriptor>, _: String) -> FsResult<()> {
        refuse()
    }

    async fn unlink_file_at(&mut self, _: Resource<Descriptor>, _: String) -> FsResult<()> {
        refuse()
    }

    async fn symlink_at(&mut self, _: Resource<Descriptor>, _: String, _: String) -> FsResult<()> {
        refuse()
    }

    async fn link_at(
        &mut self,
        _: Resource<Descriptor>,
        _: PathFlags,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        refuse()
    }

    async fn rename_at(
        &mut self,
        _: Resource<Descriptor>,
        _: String,
        _: Resource<Descriptor>,
        _: String,
    ) -> FsResult<()> {
        refuse()
    }
}

impl HostDirectoryEntryStream for RunState {
    async fn read_directory_entry(&mut self, list: Resource<ReaddirIterator>) -> FsResult<Option<DirectoryEntry>> {
        self.filesystem().read_directory_entry(list).await
    }

    fn drop(&mut self, list: Resource<ReaddirIterator>) -> Result<()> {
        HostDirectoryEntryStream::drop(&mut self.filesystem(), list)
    }
}
