//! Messages of the client that are none: whole frames whose fields do not have the form their type prescribes.
//!
//! PostgreSQL answers them with an error and the session goes on, and so does ours: the target is given a message that it
//! must reject in their place. Nothing of them is forwarded, for the target might read them otherwise than we do.

use pglens_core::ErrorCode;
use pglens_policy::Refusal;
use pglens_wire::MalformedMessage;
use pglens_wire::frontend::{self, tag};

use super::engine::Engine;
use super::exchange::{Expected, QueryReply, Refused, StatementReply};
use super::from_client::{NO_FUNCTION, NO_NAME, NO_SQL};
use super::output::Passage;

const RULE: &str = "protocol.malformed";

impl Engine {
    /// Puts a message of the same kind that fails in the place of one of type `kind`. It is no statement: the record
    /// has nothing to show of it.
    pub(super) fn replace_malformed(
        &mut self,
        kind: u8,
        error: &MalformedMessage,
        out: &mut Passage<'_>,
    ) {
        let refused = Some(Box::new(Refused {
            error: refusal(error).into(),
            rule: RULE,
            place: None,
        }));
        let statement = |refused| StatementReply {
            place: None,
            portal: None,
            refused,
        };
        let expected = match kind {
            tag::QUERY => {
                frontend::put_query(out.put(), NO_SQL);
                Expected::Query(QueryReply {
                    refused,
                    ..QueryReply::default()
                })
            }
            tag::FUNCTION_CALL => {
                frontend::put_function_call(out.put(), NO_FUNCTION);
                Expected::FunctionCall(statement(refused))
            }
            _ => {
                frontend::put_execute(out.put(), NO_NAME);
                Expected::Execute(statement(refused))
            }
        };
        self.exchange.push(expected);
    }
}

fn refusal(error: &MalformedMessage) -> Refusal {
    Refusal {
        rule: RULE,
        code: ErrorCode::ProtocolViolation,
        message: error.to_string(),
        detail: None,
        hint: None,
    }
}
