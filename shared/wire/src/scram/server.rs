//! The end that checks a proof: towards clients.

use pglens_core::Secret;

use super::attributes::{
    Attributes, decode_base64, decode_key, encode_base64, is_printable, message_text,
};
use super::keys::{self, Key};
use super::{ChannelBinding, Mechanism, ScramError, ScramVerifier};

/// The only channel binding type PostgreSQL offers.
const BINDING_FLAG: &str = "p=tls-server-end-point";

/// An exchange that waits for the client's first message.
pub struct ServerExchange {
    verifier: ScramVerifier,
    channel_binding: Option<ChannelBinding>,
    server_nonce: String,
}

impl ServerExchange {
    /// Begins an exchange with a fresh nonce.
    ///
    /// `channel_binding` is the data of the certificate shown to the client; with it, the caller has offered
    /// SCRAM-SHA-256-PLUS as well.
    #[must_use]
    pub fn start(verifier: ScramVerifier, channel_binding: Option<ChannelBinding>) -> Self {
        Self::start_with_nonce(verifier, channel_binding, keys::random_nonce())
    }

    pub(super) fn start_with_nonce(
        verifier: ScramVerifier,
        channel_binding: Option<ChannelBinding>,
        server_nonce: String,
    ) -> Self {
        Self {
            verifier,
            channel_binding,
            server_nonce,
        }
    }

    /// Takes the data of `SASLInitialResponse` and makes that of `AuthenticationSASLContinue`.
    ///
    /// The user name inside the message is ignored, as PostgreSQL ignores it: the startup packet's counts.
    ///
    /// # Errors
    /// When the mechanism was not offered, the message is malformed, or channel binding was downgraded.
    pub fn client_first(
        self,
        mechanism: &str,
        data: &[u8],
    ) -> Result<(AwaitProof, Vec<u8>), ScramError> {
        let mechanism = Mechanism::from_name(mechanism).ok_or(ScramError::MechanismNotOffered)?;
        let text = message_text(data)?;
        let (flag, rest) = text
            .split_once(',')
            .ok_or(ScramError::Malformed("no gs2 header"))?;
        let (authorization, bare) = rest
            .split_once(',')
            .ok_or(ScramError::Malformed("no gs2 header"))?;
        if !authorization.is_empty() {
            return Err(ScramError::Malformed(
                "authorization identities are not supported",
            ));
        }
        let binding = self.judge_binding_flag(mechanism, flag)?;
        let client_nonce = client_nonce(bare)?;

        let nonce = format!("{client_nonce}{}", self.server_nonce);
        let server_first = format!(
            "r={nonce},s={},i={}",
            encode_base64(&self.verifier.salt),
            self.verifier.iterations
        );
        let mut binding_input = format!("{flag},,").into_bytes();
        binding_input.extend_from_slice(binding.as_ref().map_or(&[], ChannelBinding::as_bytes));
        let next = AwaitProof {
            verifier: self.verifier,
            binding_input,
            auth_message_start: format!("{bare},{server_first}"),
            nonce,
        };
        Ok((next, server_first.into_bytes()))
    }

    /// Returns what the client's proof must be bound to.
    fn judge_binding_flag(
        &self,
        mechanism: Mechanism,
        flag: &str,
    ) -> Result<Option<ChannelBinding>, ScramError> {
        match (mechanism, flag, &self.channel_binding) {
            (Mechanism::ScramSha256Plus, _, None) => Err(ScramError::MechanismNotOffered),
            (Mechanism::ScramSha256Plus, BINDING_FLAG, Some(binding)) => Ok(Some(binding.clone())),
            (Mechanism::ScramSha256Plus, _, Some(_)) => Err(ScramError::Malformed(
                "SCRAM-SHA-256-PLUS without channel binding data",
            )),
            (Mechanism::ScramSha256, "n", _) | (Mechanism::ScramSha256, "y", None) => Ok(None),
            (Mechanism::ScramSha256, "y", Some(_)) => Err(ScramError::Downgrade),
            (Mechanism::ScramSha256, _, _) => {
                Err(ScramError::Malformed("unexpected channel binding flag"))
            }
        }
    }
}

/// `[m=…,]n=<user>,r=<nonce>[,extensions]`: only the nonce counts.
fn client_nonce(bare: &str) -> Result<&str, ScramError> {
    let mut attributes = Attributes::new(bare);
    // A mandatory extension (`m=`) in the first place is refused here too: this server knows none.
    attributes.take('n', "expected a user name")?;
    let nonce = attributes.take('r', "expected a nonce")?;
    while attributes.next()?.is_some() {} // optional extensions, to be ignored by RFC 5802
    if !is_printable(nonce) {
        return Err(ScramError::Malformed("the nonce is not printable"));
    }
    Ok(nonce)
}

/// An exchange that waits for the client's proof.
pub struct AwaitProof {
    verifier: ScramVerifier,
    binding_input: Vec<u8>,
    auth_message_start: String,
    nonce: String,
}

impl AwaitProof {
    /// Takes the data of `SASLResponse` and makes that of `AuthenticationSASLFinal`.
    ///
    /// # Errors
    /// [`ScramError::WrongProof`] for a wrong password; others when the message is malformed, of another exchange, or
    /// bound to another channel.
    pub fn client_final(self, data: &[u8]) -> Result<Proven, ScramError> {
        let text = message_text(data)?;
        let (without_proof, _) = text
            .rsplit_once(",p=")
            .ok_or(ScramError::Malformed("expected a proof"))?;
        let mut attributes = Attributes::new(text);
        let binding = attributes.take('c', "expected channel binding data")?;
        let nonce = attributes.take('r', "expected a nonce")?;
        let proof = loop {
            match attributes.next()? {
                Some(('p', proof)) => break proof,
                Some(_) => {} // optional extensions come before the proof
                None => return Err(ScramError::Malformed("expected a proof")),
            }
        };
        attributes.end()?;

        if !keys::equal(
            &decode_base64(binding, "channel binding data")?,
            &self.binding_input,
        ) {
            return Err(ScramError::ChannelBindingMismatch);
        }
        if !keys::equal(nonce.as_bytes(), self.nonce.as_bytes()) {
            return Err(ScramError::NonceMismatch);
        }
        let auth_message = format!("{},{without_proof}", self.auth_message_start);
        let client_key = self.check_proof(&decode_key(proof, "proof")?, &auth_message)?;
        let signature = keys::hmac(&self.verifier.server_key, auth_message.as_bytes());
        Ok(Proven {
            server_final: format!("v={}", encode_base64(signature.as_ref())).into_bytes(),
            client_key: Secret::new(*client_key),
        })
    }

    fn check_proof(&self, proof: &[u8; 32], auth_message: &str) -> Result<Key, ScramError> {
        let signature = keys::hmac(&self.verifier.stored_key, auth_message.as_bytes());
        let client_key = keys::xor(proof, &signature);
        if keys::equal(
            keys::sha256(client_key.as_ref()).as_ref(),
            &self.verifier.stored_key,
        ) {
            Ok(client_key)
        } else {
            Err(ScramError::WrongProof)
        }
    }
}

/// The client knows the password.
#[derive(Debug)]
pub struct Proven {
    /// The data of `AuthenticationSASLFinal`.
    pub server_final: Vec<u8>,
    /// The client's key, which only the password gives.
    pub client_key: Secret<[u8; 32]>,
}
