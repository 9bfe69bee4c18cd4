//! A certificate authority of our own, a server certificate for `localhost`, and the two private keys that a
//! sender needs: the `.p8` of APNs (P-256) and the RSA key of a service account.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use jsonwebtoken::DecodingKey;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::Error;

/// The host of the certificate that is another's.
const ELSEWHERE: &str = "elsewhere.invalid";

/// Everything secret and certified, made anew at each start.
pub(super) struct Keys {
    /// The authority that a sender must trust (`ca_file`).
    pub(super) ca_pem: String,
    /// APNs' provider key, PKCS#8 PEM as Apple hands it out (docs/providers.md#apns-provider-token).
    pub(super) p8_pem: String,
    /// The service account's private key, PKCS#8 PEM (docs/providers.md#google-access-tokens).
    pub(super) rsa_pem: String,
    /// Checks provider tokens.
    pub(super) apns_public: DecodingKey,
    /// Checks OAuth assertions.
    pub(super) oauth_public: DecodingKey,
    own: Identity,
    /// Of the same authority, for another host.
    elsewhere: Identity,
    /// For the right host, of an authority that no client trusts.
    stranger: Identity,
}

/// The certificate that a server shows.
#[derive(Debug, Clone, Copy)]
pub(super) enum Face {
    Own,
    Elsewhere,
    Stranger,
}

struct Identity {
    certificate: CertificateDer<'static>,
    private: Vec<u8>,
}

impl Keys {
    /// Generates all keys and certificates; the first time in a process it takes 100 ms or more, for RSA.
    ///
    /// # Errors
    /// [`Error::Keys`] where the cryptographic library refuses.
    pub(super) fn generate() -> Result<Self, Error> {
        let ca = CertifiedIssuer::self_signed(
            ca_params("Pushpost simulator CA"),
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        )?;
        let unknown = CertifiedIssuer::self_signed(
            ca_params("Nobody's CA"),
            KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        )?;
        let apns = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let (rsa_pem, rsa_public_pem) = rsa()?;
        Ok(Self {
            ca_pem: ca.pem(),
            p8_pem: apns.serialize_pem(),
            rsa_pem,
            apns_public: DecodingKey::from_ec_pem(apns.public_key_pem().as_bytes())?,
            oauth_public: DecodingKey::from_rsa_pem(rsa_public_pem.as_bytes())?,
            own: Identity::of(&ca, here())?,
            elsewhere: Identity::of(
                &ca,
                vec![SanType::DnsName(ELSEWHERE.try_into().expect("an ASCII name"))],
            )?,
            stranger: Identity::of(&unknown, here())?,
        })
    }

    /// A TLS 1.2+ server that offers these protocols by ALPN.
    ///
    /// # Errors
    /// [`Error::Tls`] where rustls refuses the certificate.
    pub(super) fn server(&self, face: Face, alpn: &[&str]) -> Result<Arc<ServerConfig>, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let identity = match face {
            Face::Own => &self.own,
            Face::Elsewhere => &self.elsewhere,
            Face::Stranger => &self.stranger,
        };
        let key = PrivatePkcs8KeyDer::from(identity.private.clone()).into();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl Identity {
    fn of(issuer: &CertifiedIssuer<'_, KeyPair>, names: Vec<SanType>) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = server_params(names).signed_by(&key, issuer)?;
        Ok(Self { certificate: certificate.der().clone(), private: key.serialize_der() })
    }
}

/// One RSA key serves all simulators of a process, private and public PEM: a test run starts dozens of them,
/// and a service account is told from another's by its `token_uri` anyway.
fn rsa() -> Result<(String, String), Error> {
    static MADE: Mutex<Option<(String, String)>> = Mutex::new(None);
    let mut made = MADE.lock().expect("no holder panics");
    match &*made {
        Some(pems) => Ok(pems.clone()),
        None => {
            let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
            Ok(made.insert((key.serialize_pem(), key.public_key_pem())).clone())
        }
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn server_params(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Pushpost simulator");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.subject_alt_names = names;
    params
}

fn here() -> Vec<SanType> {
    vec![
        SanType::DnsName("localhost".try_into().expect("an ASCII name")),
        // Another name, for clients that reach this machine by a proxy; `.test` is reserved (RFC 6761, 6.2).
        SanType::DnsName("simulator.test".try_into().expect("an ASCII name")),
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ]
}
