//! The contract between the planes and the administration API over gRPC: generated code, and the only conversions
//! between it and the domain's types.
//!
//! `proto/pglens/v1` is the source. The generated files are checked in; a test proves that they are fresh.
#![warn(missing_docs)]

mod brief;
pub mod convert;
pub mod records;
pub mod status;

/// Generated from `proto/pglens/v1`.
#[expect(
    missing_docs,
    clippy::all,
    clippy::missing_errors_doc,
    clippy::allow_attributes_without_reason,
    reason = "generated; the proto files carry the documentation"
)]
pub mod v1 {
    include!("generated/pglens.v1.rs");

    pub use crate::records::RecordBatch;
}

/// The encoded `FileDescriptorSet` of the contract, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/descriptors.bin");
