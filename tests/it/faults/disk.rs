//! The disk of the offset directory is full, or read-only. A disk of its own has to be mounted: only root may.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{RECOVERS, goes_on, nothing_is_lost};
use crate::pipeline::harness::Pipeline;
use crate::pipeline::load::{Load, SHOP, seed};
use crate::server::is_root;

/// A small file system; taken away when dropped.
struct Disk {
    dir: TempDir,
}

impl Disk {
    fn new() -> Self {
        let disk = Self { dir: TempDir::new().unwrap() };
        mount(&["-t", "tmpfs", "-o", "size=128k", "tripline-test"], disk.dir.path());
        disk
    }

    fn ballast(&self) -> PathBuf {
        self.dir.path().join("ballast")
    }

    /// Takes what is free. Returns whether that was anything.
    fn fill(&self) -> bool {
        let mut file = OpenOptions::new().create(true).append(true).open(self.ballast()).unwrap();
        let mut taken = false;
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => taken = true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    return taken;
                }
            }
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Mounts itself once more over itself, read-only: what is open stays writable, as after an error of the device.
    fn make_read_only(&self) {
        mount(&["--bind", self.dir.path().to_str().unwrap()], self.dir.path());
        mount(&["-o", "remount,bind,ro"], self.dir.path());
    }

    fn make_writable(&self) {
        assert!(self.unmount());
    }

    fn unmount(&self) -> bool {
        Command::new("umount").arg(self.dir.path()).status().unwrap().success()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        while is_mounted(self.dir.path()) && self.unmount() {}
    }
}

fn mount(arguments: &[&str], at: &Path) {
    assert!(Command::new("mount").args(arguments).arg(at).status().unwrap().success(), "mount {arguments:?}");
}

fn is_mounted(at: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_read_only_disk_halts_the_publisher_and_loses_nothing() {
    if !is_root() {
        println!("skipped: only root may mount a disk");
        return;
    }
    let disk = Disk::new();
    let offsets = disk.dir.path().to_str().unwrap();
    let pipeline = Pipeline::create(&[("offset.dir", offsets)], SHOP).await;
    RECOVERS.iter().for_each(|text| pipeline.expect(text));
    pipeline.init().await;
    let daemon = pipeline.start_ready("run").await;
    let load = Load::start(&pipeline, 2, seed()).await;
    goes_on(&pipeline, &daemon).await;

    let file = format!("{offsets}/{}.json", pipeline.name);
    let full = [&file, "No space left on device"];
    let mut daemon = daemon;
    // What a save takes and gives back in between is taken too.
    pipeline
        .wait_until("it halts", async || {
            disk.fill();
            daemon.poll().is_some()
        })
        .await;
    pipeline.ends_with(daemon, 74, &full).await;
    pipeline.ends_with(pipeline.start("run"), 74, &full).await;
    disk.free();
    let daemon = pipeline.start_ready("run").await;
    goes_on(&pipeline, &daemon).await;

    disk.make_read_only();
    let read_only = [&file, "Read-only file system"];
    pipeline.ends_with(daemon, 74, &read_only).await;
    pipeline.ends_with(pipeline.start("publish"), 74, &[offsets, read_only[1]]).await;
    disk.make_writable();
    let daemon = pipeline.start_ready("run").await;
    goes_on(&pipeline, &daemon).await;
    load.finish().await;
    nothing_is_lost(&pipeline).await;
    pipeline.stop(daemon).await;
}
