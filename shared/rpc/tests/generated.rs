//! The generated code is checked in, so that building needs neither `protoc` nor a build script. This test makes it
//! again from `proto/` and compares; `UPDATE_GENERATED=1 cargo test -p pglens-rpc` writes what it made.

#![expect(
    clippy::unwrap_used,
    reason = "a test: failing to read or generate is its failure"
)]

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;

fn generate(into: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = ["access", "fleet", "events", "admin"]
        .map(|name| root.join(format!("pglens/v1/{name}.proto")));
    let descriptors = protox::compile(files, [&root]).unwrap();
    fs::write(into.join("descriptors.bin"), descriptors.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(into)
        .bytes(".pglens.v1.RowsCaptured.data")
        .extern_path(".pglens.v1.RecordBatch", "crate::records::RecordBatch")
        .compile_fds(descriptors)
        .unwrap();
}

fn generated_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().is_some_and(|name| name != "mod.rs"))
        .map(|path| {
            (
                PathBuf::from(path.file_name().unwrap()),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn checked_in_code_is_what_the_proto_files_say() {
    let checked_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/generated");
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).unwrap();
    generate(&fresh);
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the developer's shell, not a setting of the program"
    )]
    if std::env::var("UPDATE_GENERATED").is_ok() {
        for (name, content) in generated_files(&fresh) {
            fs::write(checked_in.join(name), content).unwrap();
        }
    }
    let (fresh, checked_in) = (generated_files(&fresh), generated_files(&checked_in));
    assert_eq!(
        fresh.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        checked_in.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for ((name, fresh), (_, checked_in)) in fresh.iter().zip(&checked_in) {
        assert!(
            fresh == checked_in,
            "{} is stale: run UPDATE_GENERATED=1 cargo test -p pglens-rpc",
            name.display()
        );
    }
}
