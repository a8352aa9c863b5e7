//! How the C library's allocator gives memory back to the system.

/// Blocks from this size on are mapped by themselves, and unmapped when they are freed: the value with which glibc begins.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: libc::c_int = 128 << 10;

/// Keeps glibc from raising that size. By itself it goes up to the largest block that was ever freed (mallopt(3); 32 MiB
/// at most); from then on such blocks are cut from arenas, where whatever small block lies behind one holds all of it. A
/// plugin that once fetched or reported much would cost tens of MiB for good: with the 26 kinds of `tests/hostile.rs`
/// 47 MiB stayed, instead of 18.
///
/// For programs, first of all; a library leaves its embedder's allocator alone. Other C libraries have no such habit.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "a call of C that is given two numbers")]
        // SAFETY: mallopt takes any numbers, locks for itself, and says 0 if it does not know what to do with them.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES);
        }
    }
}
