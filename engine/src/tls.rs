//! What both sides know of a connection's TLS; the handshakes are the caller's business.

/// What is known of a connection's TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: String,
    /// `TLS_AES_256_GCM_SHA384`
    pub cipher: String,
    /// Of the cipher's key.
    pub bits: u16,
    /// Whether the peer's certificate was asked for and verified.
    pub verified: bool,
    /// The certificate that the peer has shown: `SHA256:` and the digest of its DER in hexadecimal.
    pub fingerprint: Option<String>,
    /// What only the two ends of this connection can compute (tls-exporter, RFC 9266): for
    /// SCRAM-SHA-256-PLUS. TLS 1.3 has it.
    pub binding: Option<[u8; 32]>,
}
