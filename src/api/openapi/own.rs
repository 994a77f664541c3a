//! Who owns the box, and its certificate, as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use serde::Serialize;
use utoipa::ToSchema;

/// What makes somebody the owner.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnClaim {
    /// The code on the box's screen; case, dash and spaces do not matter.
    #[schema(example = "ACEF-3467")]
    code: String,
    /// The password to set.
    #[schema(min_length = 8, max_length = 128, example = "rahasia kantor")]
    password: String,
}

/// The owner's password.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnPassword {
    /// 8 to 128 characters.
    #[schema(min_length = 8, max_length = 128, example = "rahasia kantor")]
    password: String,
}

/// An administrator's key, shown this once.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnKey {
    /// Always true.
    success: bool,
    #[schema(example = "kurir_…")]
    key: String,
}

/// Done.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnDone {
    /// Always true.
    success: bool,
}

/// A certificate and its key. Both together as plain PEM are taken as well.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnUpload {
    /// The chain in PEM, the box's own certificate first.
    #[schema(example = "-----BEGIN CERTIFICATE-----\n…")]
    certificate: String,
    /// Its private key in PEM, without a passphrase.
    #[schema(example = "-----BEGIN PRIVATE KEY-----\n…")]
    key: String,
}

/// The certificate in use.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnCertificate {
    /// Always true.
    success: bool,
    #[schema(inline)]
    certificate: OwnCertificateFacts,
}

/// What people compare.
#[derive(ToSchema, Serialize)]
struct OwnCertificateFacts {
    /// `self-signed` or `uploaded`.
    #[schema(pattern = "^(self-signed|uploaded)$", example = "self-signed")]
    source: String,
    /// SHA-256, as browsers show it.
    #[schema(example = "4F:0C:…")]
    sha256: String,
    #[schema(example = "2020-01-01T00:00:00Z")]
    not_before: String,
    #[schema(example = "2049-12-31T00:00:00Z")]
    not_after: String,
}
