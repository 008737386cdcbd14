//! Messages too large to be judged and recorded: the statement is refused, and the session goes on.
//!
//! Of such a message only the beginning is looked at; the rest passes by and is dropped, whatever its size.

use pglens_wire::frame::Header;
use pglens_wire::frontend::{self, tag};

use super::ending::Ending;
use super::engine::{Admission, Engine, Rest, Step};
use super::exchange::{Expected, QueryReply, Refused, StatementReply};
use super::facts;
use super::from_client::{NO_FUNCTION, NO_NAME, NO_SQL};
use super::output::Passage;
use crate::clock::Now;
use crate::policy::refusals;

/// So much is read: names of statements and portals, and enough of a text to recognise it in the record.
const PREFIX_BYTES: usize = 8 * 1024;

/// What the beginning of a message tells.
struct Beginning<'a> {
    name: &'a [u8],
    text: &'a [u8],
}

impl Engine {
    pub(super) fn oversized(
        &mut self,
        header: Header,
        chunk: &[u8],
        now: Now,
        out: &mut Passage<'_>,
    ) -> Result<Step, Ending> {
        let Some(prefix) = chunk.get(..PREFIX_BYTES) else {
            return Ok(Step::NeedMore(PREFIX_BYTES));
        };
        if self.exchange.is_full() {
            return Ok(self.wait_for_replies(out));
        }
        self.copy_is_over();
        let total = header.total_bytes();
        let Some(Beginning { name, text }) = begins(header.tag(), header.payload(prefix)) else {
            return Err(Ending::client_message_type(header.tag()));
        };
        let statement = facts::unseen_text(text);
        let facts = facts::of_prepared(&statement, total as u64);
        let refused = match self.refuse(refusals::too_large(total), Some(facts), now) {
            Admission::Refuse(refused) => refused,
            Admission::Wait(wait) => return Ok(Step::Wait(wait)),
            Admission::Forward(_) => return Err(Ending::client_message_type(header.tag())),
        };
        self.substitute(header.tag(), name, refused, out);
        self.activity.begin(now);
        Ok(self.take_client(header, chunk, Rest::Drop, out))
    }

    pub(super) fn substitute(
        &mut self,
        tag: u8,
        name: &[u8],
        refused: Box<Refused>,
        out: &mut Passage<'_>,
    ) {
        let refused = Some(refused);
        let expected = match tag {
            tag::QUERY => {
                frontend::put_query(out.put(), NO_SQL);
                Expected::Query(QueryReply {
                    refused,
                    ..QueryReply::default()
                })
            }
            tag::PARSE => {
                frontend::put_parse(out.put(), name, NO_SQL);
                Expected::Parse {
                    name: name.into(),
                    statement: facts::unseen_text(b""),
                    before: self.exchange.statements.get(name).cloned(),
                    refused,
                }
            }
            tag::BIND => {
                frontend::put_bind(out.put(), name, NO_NAME);
                Expected::Bind {
                    portal: name.into(),
                    bound: None,
                    before: self.exchange.portals.get(name).cloned(),
                    refused,
                }
            }
            _ => {
                frontend::put_function_call(out.put(), NO_FUNCTION);
                Expected::FunctionCall(StatementReply {
                    place: None,
                    portal: None,
                    refused,
                })
            }
        };
        self.exchange.push(expected);
    }
}

/// `None` for messages that have no business being so large.
fn begins(tag: u8, prefix: &[u8]) -> Option<Beginning<'_>> {
    let until_nul = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte == 0);
    match tag {
        tag::QUERY => Some(Beginning {
            name: b"",
            text: prefix,
        }),
        tag::PARSE => {
            let name = prefix.get(..until_nul(prefix)?)?;
            let text = prefix.get(name.len() + 1..)?;
            Some(Beginning { name, text })
        }
        tag::FUNCTION_CALL => Some(Beginning {
            name: b"",
            text: b"function call",
        }),
        _ => None,
    }
}
