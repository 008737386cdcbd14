//! Texts that need the parser and some time are judged on threads of their own: the other sessions of a thread go on
//! meanwhile, and whoever sends a megabyte of SQL holds up nobody else.

use std::sync::Arc;

use pglens_policy::{Judged, Rules, VerdictCache};
use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// The longest text that is judged where it came in. It takes a few hundred microseconds if it is all new.
pub(super) const AT_ONCE_BYTES: usize = pglens_policy::INLINE_MAX_BYTES;

/// Texts that are judged elsewhere at the same time; the others wait for their turn.
static PLACES: Semaphore = Semaphore::const_new(8);

/// The text of the message at which a session stands, judged elsewhere.
pub(super) struct Study {
    text: Arc<[u8]>,
    question: Option<Question>,
    judged: Option<Arc<Judged>>,
}

impl Study {
    pub(super) fn new(text: &[u8], rules: Rules, cache: VerdictCache) -> Self {
        let text: Arc<[u8]> = text.into();
        Self {
            question: Some(Question {
                text: Arc::clone(&text),
                rules,
                cache,
            }),
            text,
            judged: None,
        }
    }

    pub(super) fn is_of(&self, text: &[u8]) -> bool {
        *self.text == *text
    }

    /// What is to be answered, once.
    pub(super) fn question(&mut self) -> Option<Question> {
        self.question.take()
    }

    /// Takes the answer, if it is one to this text.
    pub(super) fn answered(&mut self, answer: Answer) {
        if Arc::ptr_eq(&self.text, &answer.text) {
            self.judged = Some(answer.judged);
        }
    }

    pub(super) fn judged(&self) -> Option<&Judged> {
        self.judged.as_deref()
    }
}

/// A text that has been judged.
pub(crate) struct Answer {
    text: Arc<[u8]>,
    judged: Arc<Judged>,
}

/// A text with what it is to be judged by.
pub(crate) struct Question {
    text: Arc<[u8]>,
    rules: Rules,
    cache: VerdictCache,
}

impl Question {
    /// Judges the text; a thread that does it does nothing else meanwhile.
    pub(crate) fn answer(self) -> Answer {
        Answer {
            judged: self.cache.judge(&self.text, &self.rules),
            text: self.text,
        }
    }

    /// Judges the text on a thread that may be held up. Cancel safe: what has begun goes on to its end, unheard.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub(crate) async fn answer_elsewhere(self) -> Result<Answer, JoinError> {
        // The semaphore is never closed; without a place the text is judged all the same.
        let place = PLACES.acquire().await.ok();
        tokio::task::spawn_blocking(move || {
            let answer = self.answer();
            drop(place);
            answer
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_policy::ControlGuard;

    fn study(text: &str) -> Study {
        let rules = Rules::Write(ControlGuard::default());
        Study::new(text.as_bytes(), rules, VerdictCache::new())
    }

    #[test]
    fn an_answer_counts_for_the_text_that_was_asked_about() {
        let (mut first, mut second) = (study("select 1"), study("drop table t"));
        let answer = first.question().unwrap().answer();
        assert!(first.question().is_none(), "it is asked once");
        second.answered(answer);
        assert!(second.judged().is_none());
        let answer = second.question().unwrap().answer();
        second.answered(answer);
        assert_eq!(&*second.judged().unwrap().text, "drop table t");
        assert!(second.is_of(b"drop table t") && !second.is_of(b"select 1"));
    }
}
