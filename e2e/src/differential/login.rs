//! The beginning of a session: startup packet, and SCRAM with the means of `postgres-protocol`.

use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};

use super::encode::{counted, cstr, frame};

/// Protocol version 3, in the upper half of the number.
const MAJOR: u32 = 3 << 16;
const CANCEL_REQUEST: u32 = 80_877_102;

/// The startup packet.
pub(super) fn startup(minor: u16, parameters: &[(String, String)]) -> Vec<u8> {
    let mut payload = (MAJOR | u32::from(minor)).to_be_bytes().to_vec();
    for (name, value) in parameters {
        payload.extend(cstr(name));
        payload.extend(cstr(value));
    }
    payload.push(0);
    counted(&payload)
}

/// The packet that asks for the statement of another session to be cancelled.
pub(super) fn cancel_request(key: &[u8]) -> Vec<u8> {
    counted(&[&CANCEL_REQUEST.to_be_bytes(), key].concat())
}

/// The client's side of SCRAM-SHA-256.
pub(super) struct Scram(ScramSha256);

impl Scram {
    pub(super) fn new(password: &str) -> Self {
        Self(ScramSha256::new(
            password.as_bytes(),
            ChannelBinding::unsupported(),
        ))
    }

    /// What to answer to an `Authentication…` message, if anything.
    pub(super) fn answer(&mut self, payload: &[u8]) -> Option<Vec<u8>> {
        let (code, data) = payload.split_first_chunk::<4>().expect("a code");
        match u32::from_be_bytes(*code) {
            0 => None,
            10 => {
                let first = self.0.message();
                let length = u32::try_from(first.len()).expect("short");
                let parts = [
                    cstr(SCRAM_SHA_256),
                    length.to_be_bytes().to_vec(),
                    first.to_vec(),
                ];
                Some(frame(b'p', &parts))
            }
            11 => {
                self.0.update(data).expect("a challenge");
                Some(frame(b'p', &[self.0.message().to_vec()]))
            }
            12 => {
                self.0.finish(data).expect("the server knows the password");
                None
            }
            other => panic!("authentication {other} was not expected"),
        }
    }
}
