//! What both sides know of a connection's TLS; the handshakes are the caller's business.

/// What is known of a connection's TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS_AES_256_GCM_SHA384`
    pub cipher: &'static str,
    /// Of the cipher's key.
    pub bits: u16,
    /// By what the keys were exchanged: `X25519MLKEM768`. None when the keys of an earlier session
    /// are used, as TLS 1.2 does it.
    pub group: Option<&'static str>,
    /// Whether the peer's certificate was asked for and verified.
    pub verified: bool,
    /// The certificate that the peer has shown: `SHA256:` and the digest of its DER in hexadecimal.
    pub fingerprint: Option<String>,
    /// What only the two ends of this connection can compute (tls-exporter, RFC 9266): for
    /// SCRAM-SHA-256-PLUS. TLS 1.3 has it.
    pub binding: Option<[u8; 32]>,
}

impl TlsInfo {
    /// What is agreed on with most peers of today: for dialogues that are played without a
    /// connection.
    #[must_use]
    pub fn usual() -> TlsInfo {
        TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384",
            bits: 256,
            group: Some("X25519"),
            verified: false,
            fingerprint: None,
            binding: None,
        }
    }
}
