use std::os::unix::fs::PermissionsExt;

use super::*;

fn pem(names: &[&str], until: (i32, u8, u8)) -> (String, String) {
    let mut params =
        CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, names[0]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until.0, until.1, until.2);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn open(dir: &tempfile::TempDir, host: &str) -> Certificates {
    Certificates::open(dir.path(), host, &["192.0.2.7".into(), "2001:db8::7".into()]).unwrap()
}

fn now() -> SystemTime {
    DateTime::parse_from_rfc3339("2026-11-21T00:00:00Z").unwrap().into()
}

fn refused(certificates: &Certificates, pem: &str, says: &str) {
    let before = certificates.info().borrow().clone();
    let e = certificates.upload(pem.as_bytes(), now()).unwrap_err().to_string();
    assert!(e.contains(says), "{e} does not say {says}");
    assert_eq!(*certificates.info().borrow(), before);
}

#[test]
fn the_box_makes_its_certificate_once_and_keeps_its_key_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, "kurir-a1b2").info().borrow().clone();
    assert_eq!(first.source, Source::SelfSigned);
    assert_eq!((first.sha256.len(), first.sha256.matches(':').count()), (95, 31), "{}", first.sha256);
    assert_eq!(first.not_before.to_rfc3339(), "2020-01-01T00:00:00+00:00");
    assert_eq!(first.not_after.to_rfc3339(), "2049-12-31T00:00:00+00:00");
    assert_eq!(*open(&dir, "kurir-a1b2").info().borrow(), first);
    let file = dir.path().join("tls/self-signed.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let pair = Pair::parse(&std::fs::read(&file).unwrap()).unwrap();
    for name in ["kurir-a1b2", "kurir-a1b2.local", "localhost", "192.0.2.7", "2001:db8::7"] {
        assert!(pair.names(name), "{name}");
    }
    assert!(!pair.names("kurir-ffff") && !pair.names("192.0.2.8"));
    let renamed = open(&dir, "kantor");
    assert_ne!(renamed.info().borrow().sha256, first.sha256, "another name needs another certificate");
    std::fs::write(&file, "damaged").unwrap();
    assert_eq!(open(&dir, "kantor").info().borrow().source, Source::SelfSigned, "damaged: made anew");
}

#[test]
fn an_uploaded_one_is_used_kept_and_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = open(&dir, "kurir-a1b2");
    let own = certificates.info().borrow().clone();
    let (chain, key) = pem(&["wa.example.com"], (2030, 1, 1));
    // Either order, and with what openssl writes around it.
    let text = format!("subject=CN = wa.example.com\n{key}\nissuer=…\n{chain}");
    let info = certificates.upload(text.as_bytes(), now()).unwrap();
    assert_eq!(
        (info.source, info.not_after.to_rfc3339().starts_with("2030-01-01")),
        (Source::Uploaded, true)
    );
    assert_eq!(*certificates.info().borrow(), info);
    let file = dir.path().join("tls/uploaded.pem");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(*open(&dir, "kurir-a1b2").info().borrow(), info, "after a restart");
    assert_eq!(certificates.remove().unwrap(), own);
    assert_eq!(certificates.remove().unwrap(), own, "removing it twice is no error");
    assert_eq!(*open(&dir, "kurir-a1b2").info().borrow(), own);
    std::fs::write(&file, "damaged").unwrap();
    assert_eq!(
        *open(&dir, "kurir-a1b2").info().borrow(),
        own,
        "a damaged upload does not keep the box from starting"
    );
}

#[test]
fn a_certificate_that_cannot_be_kept_is_used_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // Neither read nor written.
    std::fs::create_dir_all(dir.path().join("tls/self-signed.pem")).unwrap();
    let certificates = open(&dir, "kurir-a1b2");
    assert_eq!(certificates.info().borrow().source, Source::SelfSigned);
    certificates.server_config().unwrap();
}

#[test]
fn changes_at_once_leave_on_the_disk_what_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = open(&dir, "kurir-a1b2");
    let uploads = ["a", "b", "c", "d"].map(|name| {
        let (chain, key) = pem(&[name], (2030, 1, 1));
        chain + &key
    });
    for round in 0..50 {
        std::thread::scope(|threads| {
            for upload in &uploads {
                threads.spawn(|| certificates.upload(upload.as_bytes(), now()).unwrap());
            }
        });
        let kept = open(&dir, "kurir-a1b2").info().borrow().sha256.clone();
        assert_eq!(kept, certificates.info().borrow().sha256, "round {round}");
    }
}

#[test]
fn an_upload_that_would_not_work_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = open(&dir, "kurir-a1b2");
    let (chain, key) = pem(&["wa.example.com"], (2030, 1, 1));
    let (other_chain, other_key) = pem(&["other.example.com"], (2030, 1, 1));
    refused(&certificates, "", "no certificate");
    refused(&certificates, &key, "no certificate");
    refused(&certificates, &chain, "no private key");
    refused(&certificates, &format!("{chain}{other_key}"), "does not belong");
    refused(
        &certificates,
        &format!("{chain}{other_chain}{key}"),
        "certificate 1 of the chain was not issued",
    );
    refused(&certificates, &format!("{}{key}", chain.repeat(11)), "more than 10");
    let (expired, expired_key) = pem(&["wa.example.com"], (2026, 11, 20));
    refused(&certificates, &format!("{expired}{expired_key}"), "expired on 2026-11-20");
    let early = DateTime::parse_from_rfc3339("2019-01-01T00:00:00Z").unwrap().into();
    let e = certificates.upload(format!("{chain}{key}").as_bytes(), early).unwrap_err().to_string();
    assert!(e.contains("only from 2020-01-01") && e.contains("2019-01-01"), "{e}");
    let damaged = chain.replacen("MII", "MIX", 1);
    assert!(certificates.upload(format!("{damaged}{key}").as_bytes(), now()).is_err());
    refused(
        &certificates,
        &format!("{chain}{}", key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
        "without a passphrase",
    );
    assert!(!dir.path().join("tls/uploaded.pem").exists());
}

#[test]
fn a_chain_in_order_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = open(&dir, "kurir-a1b2");
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Office authority");
    let authority_pem = authority.clone().self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf =
        CertificateParams::new(vec!["wa.example.com".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let chain = format!("{}{authority_pem}{}", leaf.pem(), key.serialize_pem());
    assert_eq!(certificates.upload(chain.as_bytes(), now()).unwrap().source, Source::Uploaded);
    let wrong = format!("{authority_pem}{}{}", leaf.pem(), key.serialize_pem());
    refused(&certificates, &wrong, "certificate 1 of the chain was not issued");
}
