//! The fuzz targets without a fuzzer: the seeds, parts of seeds, and random bytes. `make fuzz` runs the real ones.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests, and targets that are a crate of their own for the fuzzers"
)]

use std::path::Path;

use proptest::prelude::*;

#[path = "../fuzz/src/lib.rs"]
mod targets;

use targets::{TARGETS, Target};

/// The seeds of a target by their file's name.
fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(name);
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect()
}

#[test]
fn no_seed_and_no_part_of_one_breaks_a_target() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (file, seed) in seeds {
            eprintln!("{file}");
            for end in 0..=seed.len() {
                target(&seed[..end]);
            }
        }
    }
}

fn target() -> impl Strategy<Value = Target> {
    prop::sample::select(TARGETS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn no_damaged_seed_breaks_a_target(
        (name, target) in target(),
        index in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        tail in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let seeds = seeds(name);
        let mut bytes = index.get(&seeds).1.clone();
        bytes.extend(tail);
        for (at, byte) in damage {
            if !bytes.is_empty() {
                *at.get_mut(&mut bytes) = byte;
            }
        }
        target(&bytes);
    }

    #[test]
    fn no_random_bytes_break_a_target(
        (_, target) in target(),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        target(&bytes);
    }
}
