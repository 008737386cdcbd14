//! A text that takes a while to judge: the session waits for the answer, and its thread does not.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinError;

use super::{Ending, Relay};
use crate::policy::study::Answer;

/// The answer on its way.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Answer, JoinError>> + Send>>;

impl Relay {
    /// Ready when a text that the client's direction waits for has been judged.
    ///
    /// # Errors
    /// The end of the session, when nobody will judge it.
    pub(super) fn poll_study(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Ending> {
        if let Some(question) = self.engine.question() {
            self.study = Some(Box::pin(question.answer_elsewhere()));
        }
        let Some(answering) = &mut self.study else {
            return Ok(Poll::Pending);
        };
        let Poll::Ready(answer) = answering.as_mut().poll(cx) else {
            return Ok(Poll::Pending);
        };
        self.study = None;
        match answer {
            Ok(answer) => {
                self.engine.answered(answer);
                Ok(Poll::Ready(()))
            }
            Err(_shutting_down) => Err(Ending::aborted()),
        }
    }
}
