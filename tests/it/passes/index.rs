//! What passes make of the local index: when it is written anew, and when changes lie beside it.

use super::{Bench, filled};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use volume_syncing_controller::push::Pusher;
use volume_syncing_controller::tree::Dirty;

impl Bench {
    /// Makes a folder of links outside of the volume and moves it in.
    fn move_in(&self, name: &str, links: usize, target_len: usize) {
        let away = self.local.volume.path().with_file_name("away");
        fs::create_dir(&away).expect("a folder");
        for link in 0..links {
            let target = format!("{link:05}{}", "x".repeat(target_len - 5));
            symlink(target, away.join(format!("{link:05}"))).expect("a link");
        }
        fs::rename(away, self.at(name)).expect("a rename");
    }

    /// Where changes lie that are beside the index.
    fn overlay(&self) -> PathBuf {
        let mut below = fs::read_dir(self.at(".vsc")).expect("a state directory").map(|entry| entry.expect("an entry").path());
        below.find(|path| path.is_dir()).expect("a vault's folder").join("overlay")
    }

    fn has_overlay(&self) -> bool {
        self.overlay().exists()
    }
}

#[test]
fn a_folder_of_any_size_may_be_moved_in() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = Pusher::new(&request);
    bench.pass(&mut pusher, Dirty::everything(), false);
    // Too many entries, too long ones, and more of these than a state file may hold.
    for (name, links, target_len, beside) in
        [("few", 100, 4000, true), ("many", 4100, 10, false), ("long", 1200, 4000, false), ("all", 4090, 4095, false)]
    {
        bench.move_in(name, links, target_len);
        assert_eq!(bench.heard(&mut pusher).added, links as u64 + 1, "{name}");
        assert_eq!(bench.has_overlay(), beside, "{name}");
        fs::write(bench.at("after"), name).expect("a file");
        let next = bench.heard(&mut pusher);
        assert_eq!((next.added + next.changed, bench.has_overlay()), (1, true), "{name}");
    }
    drop(pusher);
    let mut pusher = Pusher::new(&request);
    bench.assert_nothing_missed(&mut pusher, "a new start");
    bench.pass(&mut pusher, Dirty::default(), true);
    bench.restored_is_the_same();
}

#[test]
fn what_lies_beside_the_index_in_small_steps_is_written_into_it_before_it_is_large() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = Pusher::new(&request);
    bench.pass(&mut pusher, Dirty::everything(), false);
    for step in 0..4 {
        bench.move_in(&format!("step{step}"), 800, 4000);
        bench.heard(&mut pusher);
        assert_eq!(bench.has_overlay(), step % 3 != 2, "step {step}");
    }
    bench.assert_nothing_missed(&mut pusher, "the last step");
}

#[test]
fn what_is_too_large_to_be_read_beside_the_index_is_made_again() {
    let bench = Bench::new(filled(100));
    let request = bench.request();
    let mut pusher = Pusher::new(&request);
    bench.pass(&mut pusher, Dirty::everything(), false);
    fs::write(bench.at("new"), "content").expect("a file");
    bench.heard(&mut pusher);
    drop(pusher);
    fs::File::options().write(true).open(bench.overlay()).expect("an overlay").set_len(17 << 20).expect("made longer");
    let mut pusher = Pusher::new(&request);
    bench.assert_nothing_missed(&mut pusher, "what lay beside the index was lost");
    assert!(!bench.has_overlay());
}
