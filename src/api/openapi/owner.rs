//! The box's owner and its certificate as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use serde::Serialize;
use utoipa::ToSchema;

/// Who claims the box.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnerClaim {
    /// The code on the box's screen.
    #[schema(max_length = 20, example = "ABCD-2345")]
    code: String,
    /// The password that the box has from now on.
    #[schema(example = "kata sandi yang panjang")]
    password: String,
}

/// The box's password.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnerPassword {
    /// The password.
    #[schema(example = "kata sandi yang panjang")]
    password: String,
}

/// An administrator's key.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OwnerKey {
    /// Always true.
    success: bool,
    /// The key. Shown here only.
    #[schema(example = "kurir_8Jd2…")]
    key: String,
}

/// A certificate with its chain, and its private key.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct CertificateNew {
    /// The certificate, then its chain, as PEM.
    #[schema(example = "-----BEGIN CERTIFICATE-----\n…")]
    certificate: String,
    /// The private key as PEM.
    #[schema(example = "-----BEGIN PRIVATE KEY-----\n…")]
    key: String,
}

/// The certificate in use.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct CertificateShown {
    /// Always true.
    success: bool,
    #[schema(inline)]
    certificate: CertificateFacts,
}

/// A certificate.
#[derive(ToSchema, Serialize)]
struct CertificateFacts {
    /// `self-signed`, or `uploaded`.
    #[schema(pattern = "^(self-signed|uploaded)$", example = "self-signed")]
    source: String,
    /// Its fingerprint.
    #[schema(example = "AB:CD:…")]
    sha256: String,
    /// From when it is valid.
    #[schema(format = DateTime, example = "2026-11-21T08:00:00Z")]
    not_before: String,
    /// Until when it is valid.
    #[schema(format = DateTime, example = "2027-11-21T08:00:00Z")]
    not_after: String,
}

/// An update file.
#[derive(ToSchema, Serialize)]
#[schema(value_type = String, content_media_type = "application/octet-stream", example = "…")]
pub(in crate::api) struct UpdateFile(String);

/// What the page for updates sends.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct UpdateForm {
    /// The box's password. It comes first.
    #[schema(example = "kata sandi yang panjang")]
    password: String,
    /// The update file.
    #[schema(content_media_type = "application/octet-stream", example = "…")]
    file: String,
}

/// How far an update is.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct UpdateShown {
    /// Always true.
    success: bool,
    #[schema(inline)]
    update: UpdateFacts,
}

/// An update.
#[derive(ToSchema, Serialize)]
struct UpdateFacts {
    /// The version that runs.
    #[schema(example = "1.0.0")]
    version: String,
    /// The kind of box that an update has to be for.
    #[schema(pattern = "^(arm64|armhf|amd64)$", example = "arm64")]
    board: String,
    /// `idle`; `received`, whole and signed; `writing` into the other slot; `written`, to be tried; `trying`; or
    /// `given_up`, until the box has restarted into the version before it.
    #[schema(pattern = "^(idle|received|writing|written|trying|given_up)$", example = "writing")]
    stage: String,
    /// The version that is under way.
    #[schema(example = "1.1.0")]
    next: Option<String>,
    /// What became of the last update that ended.
    #[schema(inline)]
    last: Option<UpdateOutcome>,
}

/// What became of an update.
#[derive(ToSchema, Serialize)]
struct UpdateOutcome {
    /// `committed`: it is in use. `rolled_back`: it was tried, and the box went back. `failed`: it was not written.
    #[schema(pattern = "^(committed|rolled_back|failed)$", example = "committed")]
    outcome: String,
    /// Its version.
    #[schema(example = "1.0.0")]
    version: String,
    /// Why it is not in use.
    #[schema(example = "part root of the update is damaged; get the file again")]
    reason: Option<String>,
}
