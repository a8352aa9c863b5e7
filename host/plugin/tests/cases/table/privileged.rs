//! What is looked at in namespaces of its own, where the test decides who answers and what is mounted: `icmp`, and the
//! filesystems of `system`.

use super::{Expected, TEST, Table, above, bench, is, load, part, says};
use crate::echoes;
use roundsman_probe::probe::{Options, Roots};
use roundsman_probe::resolve::Resolver;

const HOSTS: &str = "127.0.0.1 shop.example\n127.0.0.1 both.example\n::1 both.example\n";
/// A small filesystem with a file in it, which cannot be written to any more. Its mount ends with the namespace.
const MOUNT: &str = "mount -t tmpfs -o size=1m,nr_inodes=100,noatime the-shop /mnt && head -c 8192 /dev/zero > /mnt/file \
                     && mount -o remount,ro /mnt";
const MS: i128 = 1_000_000;

/// From outside.
pub(super) fn inside(table: &mut Table) {
    match echoes::again(TEST, &format!("{} && {MOUNT}", echoes::SCRIPT)) {
        Some(said) => table.receive(&said),
        None => table.skip(
            &["icmp.", "system.mount", "system.usage", "system.filesystem"],
            &format!("{}, and `mount`", echoes::IMPOSSIBLE),
        ),
    }
}

/// From within.
pub(super) fn tour(table: &mut Table) {
    let (resolver, roots) = (Resolver::fixed(HOSTS), Roots::Only(Vec::new()));
    let bench = bench(Options { resolver, roots, ..Options::default() });
    echoes::answer_twice();
    let plugin = load(&bench);
    let words = ["shop.example", "both.example"];
    let report = bench.run(&plugin, &part("icmp", &words, &["icmp://shop.example", "icmp://both.example"]));
    table.take(
        &report,
        &[
            ("icmp.echo.send", is("reply, reply")),
            ("icmp.echo.set-count", is(2)),
            ("icmp.echo.results", says("reply from 127.0.0.1 ttl 64 after ")),
            ("icmp.echo.duplicates", Expected::Between(1, 2)),
            ("icmp.echo.peer-address", is("127.0.0.1")),
            ("icmp.echo.set-source-address", is("127.0.0.2")),
            ("icmp.echo.set-size", is("reply, reply of 33 bytes, lost, lost of 34")),
            ("icmp.echo.set-ttl", is("reply, reply with 9 hops, lost, lost with 10")),
            ("icmp.echo.set-interval-ns", Expected::Between(600 * MS, 15_000 * MS)),
            ("icmp.echo.set-option", is("unsupported")),
            ("icmp.echo.set-timeout-ns", Expected::Between(1200 * MS, 15_000 * MS)),
            ("icmp.echo.timing-ns", above(1)),
            ("icmp.echo.set-dont-fragment", is("too-big, too-big with true, lost, lost with false")),
            ("icmp.echo.fact", is(1500)),
            ("icmp.echo.set-address-family", is("::1")),
            ("icmp.echo.constructor", is("reply of both.example")),
        ],
    );
    let mut run = part("mounts", &["/mnt"], &[]);
    run.allow.system.push("filesystems".to_owned());
    // The file takes two pages and an inode, as the root itself does; those of other kernels are larger.
    let (size, page) = (1 << 20, u64::try_from(rustix::param::page_size()).unwrap());
    let free = size - 8192_u64.next_multiple_of(page);
    table.take(
        &bench.run(&plugin, &run),
        &[
            ("system.mounts", is(1)),
            ("system.mount.source", is("the-shop")),
            ("system.mount.path", is("/mnt")),
            ("system.mount.kind", is("tmpfs")),
            ("system.mount.read-only", is(true)),
            ("system.mount.options", says("ro,noatime")),
            ("system.usage", is(format!("{} per cent are free", 100 * free / size))),
            ("system.filesystem.total", is(size)),
            ("system.filesystem.free", is(free)),
            ("system.filesystem.available", is(free)),
            ("system.filesystem.inodes", is(100)),
            ("system.filesystem.inodes-free", is(98)),
            ("system.filesystem.read-only", is(true)),
        ],
    );
}
