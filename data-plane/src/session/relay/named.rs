//! Describe and Close: messages that name a prepared statement or a portal and run nothing.

use pglens_wire::frontend::{Named, Subject};

use super::engine::Engine;
use super::exchange::Expected;
use super::from_client::Judgement;
use super::output::Passage;

impl Engine {
    pub(super) fn describe(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        out: &mut Passage<'_>,
    ) -> Judgement {
        let describe = Named::decode(payload)?;
        out.pass(frame.len());
        let exchange = &mut self.exchange;
        let expected = match describe.subject {
            Subject::Statement => {
                Expected::DescribeStatement(exchange.statements.get(describe.name).cloned())
            }
            Subject::Portal => {
                Expected::DescribePortal(exchange.portals.get(describe.name).cloned())
            }
        };
        exchange.push(expected);
        Ok(None)
    }

    pub(super) fn close(
        &mut self,
        frame: &[u8],
        payload: &[u8],
        out: &mut Passage<'_>,
    ) -> Judgement {
        let close = Named::decode(payload)?;
        out.pass(frame.len());
        let expected = match close.subject {
            Subject::Statement => Expected::CloseStatement {
                before: self.exchange.statements.set(close.name, None),
                name: close.name.into(),
            },
            Subject::Portal => Expected::ClosePortal {
                before: self.exchange.portals.set(close.name, None),
                portal: close.name.into(),
            },
        };
        self.exchange.push(expected);
        Ok(None)
    }
}
