//! What a certificate says of itself that rustls does not hand out: its validity, and who issued it to whom.

use chrono::{DateTime, Utc};
use yasna::{ASN1Error, ASN1ErrorKind, ASN1Result, BERReader, Tag};

/// The facts of one certificate (RFC 5280, section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
    /// Distinguished names in DER.
    pub(super) issuer: Vec<u8>,
    pub(super) subject: Vec<u8>,
}

impl Facts {
    /// `None`: this is no certificate.
    pub(super) fn of(der: &[u8]) -> Option<Facts> {
        let certificate = yasna::parse_der(der, |reader| {
            reader.read_sequence(|reader| {
                let facts = reader.next().read_sequence(|reader| {
                    // version, serialNumber, signature
                    reader.read_optional(|reader| {
                        reader.read_tagged(Tag::context(0), |reader| reader.read_der())
                    })?;
                    reader.next().read_der()?;
                    reader.next().read_der()?;
                    let issuer = reader.next().read_der()?;
                    let (not_before, not_after) = reader
                        .next()
                        .read_sequence(|reader| Ok((time(reader.next())?, time(reader.next())?)))?;
                    let subject = reader.next().read_der()?;
                    // subjectPublicKeyInfo, extensions
                    while reader.read_optional(|reader| reader.read_der())?.is_some() {}
                    Ok(Facts { not_before, not_after, issuer, subject })
                })?;
                // signatureAlgorithm, signatureValue
                reader.next().read_der()?;
                reader.next().read_der()?;
                Ok(facts)
            })
        });
        certificate.ok()
    }
}

/// UTCTime until 2049, GeneralizedTime from 2050.
fn time(reader: BERReader<'_, '_>) -> ASN1Result<DateTime<Utc>> {
    let seconds = match reader.lookahead_tag()? {
        yasna::tags::TAG_UTCTIME => reader.read_utctime()?.datetime().unix_timestamp(),
        _ => reader.read_generalized_time()?.datetime().unix_timestamp(),
    };
    DateTime::from_timestamp(seconds, 0).ok_or_else(|| ASN1Error::new(ASN1ErrorKind::Invalid))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["kurir.test".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "kurir");
        params.not_before = date_time_ymd(from.0, from.1, from.2);
        params.not_after = date_time_ymd(until.0, until.1, until.2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn both_forms_of_a_date_are_read() {
        let facts = Facts::of(&certificate((1999, 2, 3), (2049, 12, 31))).unwrap();
        assert_eq!(facts.not_before.to_rfc3339(), "1999-02-03T00:00:00+00:00");
        assert_eq!(facts.not_after.to_rfc3339(), "2049-12-31T00:00:00+00:00");
        assert_eq!(facts.issuer, facts.subject);
        let facts = Facts::of(&certificate((2050, 1, 1), (2100, 1, 1))).unwrap();
        assert_eq!(facts.not_after.to_rfc3339(), "2100-01-01T00:00:00+00:00");
    }

    proptest! {
        #[test]
        fn what_is_damaged_is_refused_without_a_panic(at in 0usize..400, to: u8, cut in 0usize..400) {
            let mut der = certificate((2020, 1, 1), (2049, 12, 31));
            let last = der.len() - 1;
            prop_assert!(Facts::of(&der[..cut.min(last)]).is_none(), "cut at {cut}");
            der[at.min(last)] = to;
            let _ = Facts::of(&der);
        }
    }
}
