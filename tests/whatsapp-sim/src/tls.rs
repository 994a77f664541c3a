//! TLS on the server's port, for clients that know nothing but `wss:` and `https:`.
//!
//! A TLS connection begins with other bytes than an HTTP request, so both share the port. The TLS is taken off here and
//! the bytes are handed to the same port in the clear: nothing behind it knows of TLS.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::identity::{AUTHORITY, CHAT_HOST, Identity, MEDIA_HOST};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1). No HTTP method begins with it.
pub const FIRST_BYTE: u8 = 0x16;

/// A client has this long for the handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// TLS cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate cannot be used.
    #[error("cannot use the certificate made for this server: {0}")]
    Config(#[from] tokio_rustls::rustls::Error),
}

/// A certificate by an authority of its own, for `localhost` and the loopback addresses or for WhatsApp's names.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    authority: Arc<str>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Makes the authority and the certificate. The certificate also names `listen`'s address.
    pub fn generate(listen: IpAddr) -> Result<Self, TlsError> {
        let mut authority = DistinguishedName::new();
        authority.push(DnType::CommonName, "whatsapp-sim test authority");
        let mut leaf = CertificateParams::new(["localhost".to_owned()])?;
        let addresses = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into(), listen];
        leaf.subject_alt_names.extend(addresses.map(SanType::IpAddress));
        Self::signed(authority, &KeyPair::generate()?, leaf)
    }

    /// A certificate for WhatsApp's names, by the authority in whose place `identity` is.
    pub(crate) fn in_place_of_whatsapp(identity: &Identity) -> Result<Self, TlsError> {
        let mut authority = DistinguishedName::new();
        // As in the certificate of that authority: clients compare the bytes.
        for (kind, value) in AUTHORITY {
            let kind = match kind {
                "C" => DnType::CountryName,
                "O" => DnType::OrganizationName,
                "OU" => DnType::OrganizationalUnitName,
                _ => DnType::CommonName,
            };
            authority.push(kind, DnValue::PrintableString(value.try_into()?));
        }
        let leaf = CertificateParams::new([CHAT_HOST.to_owned(), MEDIA_HOST.to_owned()])?;
        Self::signed(authority, &identity.authority, leaf)
    }

    fn signed(name: DistinguishedName, key: &KeyPair, mut leaf: CertificateParams) -> Result<Self, TlsError> {
        let mut authority = CertificateParams::default();
        authority.distinguished_name = name;
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_certificate = authority.self_signed(key)?;

        leaf.distinguished_name.push(DnType::CommonName, "whatsapp-sim");
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        let leaf_key = KeyPair::generate()?;
        let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::new(authority, key))?;

        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf_certificate.der().clone()],
                PrivateKeyDer::Pkcs8(leaf_key.serialize_der().into()),
            )?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: authority_certificate.pem().into(),
        })
    }

    /// The authority's certificate in PEM, for clients to trust.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Serves one TLS connection: what comes out of it goes to `plain`, until one side closes.
    pub async fn serve(&self, stream: TcpStream, plain: SocketAddr) -> std::io::Result<()> {
        let mut inner = TcpStream::connect(plain).await?;
        // A handshake, a request: small writes that wait for an answer.
        inner.set_nodelay(true)?;
        stream.set_nodelay(true)?;
        let mut outer = timeout(HANDSHAKE_TIME, self.acceptor.accept(stream)).await??;
        copy_bidirectional(&mut outer, &mut inner).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::PublicKeyData;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::pem::PemObject;
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    fn connector(authority: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
        with_roots(roots)
    }

    fn with_roots(roots: RootCertStore) -> TlsConnector {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    /// A TLS port before a plain one that answers each connection with what it was sent, in upper case, and closes.
    async fn start(tls: Tls) -> SocketAddr {
        let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (plain_addr, front_addr) = (plain.local_addr().unwrap(), front.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = plain.accept().await {
                let mut text = [0; 5];
                // A client may want no more than the handshake.
                if stream.read_exact(&mut text).await.is_err() {
                    continue;
                }
                stream.write_all(&text.to_ascii_uppercase()).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((stream, _)) = front.accept().await {
                let tls = tls.clone();
                tokio::spawn(async move { tls.serve(stream, plain_addr).await });
            }
        });
        front_addr
    }

    /// Trusts the authorities that a released program does, one of them with our key.
    fn rekeyed(identity: &Identity) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        for anchor in webpki_roots::TLS_SERVER_ROOTS {
            let mut anchor = anchor.to_owned();
            let (_, name) = AUTHORITY[3];
            if anchor.subject.as_ref().ends_with(name.as_bytes()) {
                let point = identity.authority.der_bytes();
                let mut key = anchor.subject_public_key_info.as_ref().to_vec();
                let from = key.len() - point.len();
                key[from..].copy_from_slice(point);
                anchor.subject_public_key_info = key.into();
            }
            roots.roots.push(anchor);
        }
        with_roots(roots)
    }

    #[tokio::test]
    async fn a_client_with_its_key_takes_it_for_whatsapp() {
        let identity = Identity::generate().unwrap();
        let connector = rekeyed(&identity);
        let addr = start(Tls::in_place_of_whatsapp(&identity).unwrap()).await;
        for (name, trusted) in [(CHAT_HOST, true), (MEDIA_HOST, true), ("graph.facebook.com", false)] {
            let stream = TcpStream::connect(addr).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            assert_eq!(connector.connect(name.clone(), stream).await.is_ok(), trusted, "{name:?}");
        }
        // As it is released, a client takes it for nobody.
        let released = with_roots(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
        let stream = TcpStream::connect(addr).await.unwrap();
        assert!(released.connect(ServerName::try_from(CHAT_HOST).unwrap(), stream).await.is_err());
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_authority_gets_through() {
        let tls = Tls::generate(Ipv4Addr::LOCALHOST.into()).unwrap();
        let connector = connector(tls.authority());
        let addr = start(tls).await;
        for name in ["localhost", "127.0.0.1", "::1"] {
            let stream = TcpStream::connect(addr).await.unwrap();
            let mut first = [0];
            let name = ServerName::try_from(name).unwrap();
            let mut stream = connector.connect(name, stream).await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"HELLO");
            assert_eq!(stream.read(&mut first).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_client_that_trusts_another_authority_does_not() {
        let tls = Tls::generate(Ipv4Addr::LOCALHOST.into()).unwrap();
        let other = Tls::generate(Ipv4Addr::LOCALHOST.into()).unwrap();
        let addr = start(tls).await;
        let stream = TcpStream::connect(addr).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        assert!(connector(other.authority()).connect(name, stream).await.is_err());
    }
}
