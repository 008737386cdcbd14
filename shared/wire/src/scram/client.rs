//! The end that proves itself: towards targets.

use super::attributes::{
    Attributes, decode_base64, decode_key, encode_base64, is_printable, message_text,
};
use super::keys::{self, Key};
use super::{ChannelBinding, Mechanism, ScramError};
use zeroize::Zeroizing;

/// Most iterations done for a server. PostgreSQL's default is 4096 and careful operators set some hundred thousand;
/// a million takes a second or so, and a server that asks for more is taken for an attack on this process.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The data of `SASLInitialResponse`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialResponse {
    /// The mechanism chosen from the server's list.
    pub mechanism: Mechanism,
    /// The client-first message.
    pub data: Vec<u8>,
}

/// An exchange that waits for the server's first message.
pub struct ClientExchange {
    password: Zeroizing<String>,
    /// The gs2 header and, with PLUS, the channel binding data.
    binding_input: Vec<u8>,
    first_bare: String,
    nonce: String,
}

impl ClientExchange {
    /// Chooses a mechanism from the server's list and begins.
    ///
    /// `channel_binding` is the data of the certificate the server showed; with it SCRAM-SHA-256-PLUS is used when
    /// offered, and a list that was cut short on the way is noticed by the server when it is not.
    ///
    /// # Errors
    /// [`ScramError::NoCommonMechanism`].
    pub fn start<'a>(
        offered: impl IntoIterator<Item = &'a str>,
        password: &str,
        channel_binding: Option<&ChannelBinding>,
    ) -> Result<(Self, InitialResponse), ScramError> {
        Self::start_with_nonce(offered, password, channel_binding, keys::random_nonce())
    }

    pub(super) fn start_with_nonce<'a>(
        offered: impl IntoIterator<Item = &'a str>,
        password: &str,
        channel_binding: Option<&ChannelBinding>,
        nonce: String,
    ) -> Result<(Self, InitialResponse), ScramError> {
        let (mut plain, mut plus) = (false, false);
        for mechanism in offered.into_iter().filter_map(Mechanism::from_name) {
            match mechanism {
                Mechanism::ScramSha256 => plain = true,
                Mechanism::ScramSha256Plus => plus = true,
            }
        }
        let (mechanism, header, binding) = match channel_binding {
            Some(binding) if plus => (
                Mechanism::ScramSha256Plus,
                "p=tls-server-end-point,,",
                binding.as_bytes(),
            ),
            Some(_) if plain => (Mechanism::ScramSha256, "y,,", &[][..]),
            None if plain => (Mechanism::ScramSha256, "n,,", &[][..]),
            _ => return Err(ScramError::NoCommonMechanism),
        };
        // PostgreSQL takes the user name from the startup packet; its own client leaves it empty here.
        let first_bare = format!("n=,r={nonce}");
        let data = format!("{header}{first_bare}").into_bytes();
        let next = Self {
            password: Zeroizing::new(password.to_owned()),
            binding_input: [header.as_bytes(), binding].concat(),
            first_bare,
            nonce,
        };
        Ok((next, InitialResponse { mechanism, data }))
    }

    /// Takes the data of `AuthenticationSASLContinue` and makes that of `SASLResponse`; the slow step.
    ///
    /// # Errors
    /// When the message is malformed, of another exchange, or asks for more than [`MAX_ITERATIONS`].
    pub fn server_first(self, data: &[u8]) -> Result<(AwaitServerFinal, Vec<u8>), ScramError> {
        let text = message_text(data)?;
        let mut attributes = Attributes::new(text);
        let nonce = attributes.take('r', "expected a nonce")?;
        let salt = decode_base64(attributes.take('s', "expected a salt")?, "salt")?;
        let iterations = iterations(attributes.take('i', "expected an iteration count")?)?;
        while attributes.next()?.is_some() {} // optional extensions, to be ignored by RFC 5802

        let server_nonce = nonce.strip_prefix(self.nonce.as_str()).unwrap_or_default();
        if !is_printable(server_nonce) {
            return Err(ScramError::NonceMismatch);
        }
        let salted_password = keys::salted_password(&self.password, &salt, iterations);
        let without_proof = format!("c={},r={nonce}", encode_base64(&self.binding_input));
        let auth_message = format!("{},{text},{without_proof}", self.first_bare);
        let client_key = keys::client_key(&salted_password);
        let stored_key = keys::sha256(client_key.as_ref());
        let proof = keys::xor(
            &client_key,
            &keys::hmac(stored_key.as_ref(), auth_message.as_bytes()),
        );
        let server_key = keys::server_key(&salted_password);
        let next = AwaitServerFinal {
            signature: keys::hmac(server_key.as_ref(), auth_message.as_bytes()),
        };
        let client_final = format!("{without_proof},p={}", encode_base64(proof.as_ref()));
        Ok((next, client_final.into_bytes()))
    }
}

fn iterations(text: &str) -> Result<u32, ScramError> {
    let malformed = ScramError::Malformed("iteration count");
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed);
    }
    let iterations: u64 = text.parse().map_err(|_| malformed)?;
    match u32::try_from(iterations) {
        Ok(count) if (1..=MAX_ITERATIONS).contains(&count) => Ok(count),
        _ => Err(ScramError::IterationsOutOfBounds { iterations }),
    }
}

/// An exchange that waits for the server to prove that it knows the verifier.
pub struct AwaitServerFinal {
    signature: Key,
}

impl AwaitServerFinal {
    /// Takes the data of `AuthenticationSASLFinal`. Only `Ok` means that the server is the one with the verifier.
    ///
    /// # Errors
    /// When the server reports failure, or its signature is wrong.
    pub fn server_final(self, data: &[u8]) -> Result<(), ScramError> {
        let text = message_text(data)?;
        let signature = match Attributes::new(text).next()? {
            Some(('v', signature)) => decode_key(signature, "server signature")?,
            Some(('e', _)) => return Err(ScramError::ServerRefused),
            _ => return Err(ScramError::Malformed("expected a server signature")),
        };
        if keys::equal(&signature, self.signature.as_ref()) {
            Ok(())
        } else {
            Err(ScramError::WrongServerSignature)
        }
    }
}
