//! Where two streams of answers part, in words.

use std::fmt::Write as _;

use super::peer::Answer;
use super::script::Errors;

/// Messages shown before and at the difference.
const CONTEXT: usize = 6;

/// Longest payload shown whole.
const SHOWN_BYTES: usize = 400;

/// The first difference of two streams, or nothing.
pub fn difference(direct: &[Answer], proxied: &[Answer], errors: Errors) -> Option<String> {
    let [direct, proxied] = [direct, proxied].map(|answers| match answers {
        [before @ .., last] if errors == Errors::Sqlstate && is_last_word(last) => before,
        all => all,
    });
    let longest = direct.len().max(proxied.len());
    let same = |index: usize| match (direct.get(index), proxied.get(index)) {
        (Some(one), Some(other)) => comparable(one, errors) == comparable(other, errors),
        _ => false,
    };
    let index = (0..longest).find(|index| !same(*index))?;
    let from = index.saturating_sub(CONTEXT);
    let part = |answers: &[Answer]| {
        let shown = answers.iter().skip(from).take(index - from + 2);
        listing(&shown.cloned().collect::<Vec<_>>())
    };
    Some(format!(
        "answer {} differs ({} directly, {} through the proxy)\n-- directly\n{}-- through the proxy\n{}",
        index + 1,
        direct.len(),
        proxied.len(),
        part(direct),
        part(proxied),
    ))
}

/// FATAL 08P01, which may be said or not.
fn is_last_word(answer: &Answer) -> bool {
    answer.tag == b'E' && kept_fields(answer, b"VC") == b"VFATAL\0C08P01"
}

fn comparable(answer: &Answer, errors: Errors) -> Answer {
    let kept: &[u8] = match errors {
        Errors::Message => b"VCM",
        Errors::Sqlstate => b"VC",
        Errors::Severity => b"V",
        Errors::Whole => return answer.clone(),
    };
    let payload = match answer.tag {
        b'E' => kept_fields(answer, kept),
        _ => answer.payload.clone(),
    };
    Answer {
        tag: answer.tag,
        payload,
    }
}

/// The fields of an error whose type bytes are among `kept`.
fn kept_fields(answer: &Answer, kept: &[u8]) -> Vec<u8> {
    let fields = answer.payload.split(|byte| *byte == 0);
    let kept: Vec<_> = fields
        .filter(|field| field.first().is_some_and(|code| kept.contains(code)))
        .collect();
    kept.join(&0)
}

/// One line for each answer.
pub fn listing(answers: &[Answer]) -> String {
    let mut out = String::new();
    for Answer { tag, payload } in answers {
        let shown = &payload[..payload.len().min(SHOWN_BYTES)];
        let text = shown.escape_ascii();
        let (tag, bytes) = (char::from(*tag), payload.len());
        let _infallible = writeln!(out, "  {tag} {bytes:5}  {text}");
    }
    out
}
