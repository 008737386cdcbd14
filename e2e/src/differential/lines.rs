//! Files of sessions as lines: comments left out, continuations joined, repetitions written out.

/// Lines without comments, each with those that go on with it, and with repetitions written out.
pub(super) fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_head = line.starts_with("  ") && lines.last().is_some_and(|(_, l)| is_head_line(l));
        match lines.last_mut() {
            _ if line.trim().is_empty() || line.starts_with('#') => {}
            _ if is_head => lines.push((index + 1, line.trim().to_owned())),
            Some((_, last)) if line.starts_with(' ') => {
                last.push('\n');
                last.push_str(line.trim());
            }
            _ => lines.push((index + 1, line.trim_end().to_owned())),
        }
    }
    repeated(lines)
}

fn is_head_line(line: &str) -> bool {
    const WORDS: [&str; 9] = [
        "session", "read", "compare", "startup", "version", "since", "until", "aside", "commits",
    ];
    WORDS.contains(&line.split(' ').next().unwrap_or_default())
}

fn repeated(lines: Vec<(usize, String)>) -> Vec<(usize, String)> {
    let (mut out, mut lines) = (Vec::new(), lines.into_iter());
    while let Some((number, line)) = lines.next() {
        let Some(count) = line.strip_prefix("repeat ") else {
            out.push((number, line));
            continue;
        };
        let count: usize = count
            .parse()
            .unwrap_or_else(|_| panic!("line {number}: {line}"));
        let body: Vec<_> = lines.by_ref().take_while(|(_, l)| l != "done").collect();
        for n in 1..=count {
            let n = n.to_string();
            out.extend(body.iter().map(|(at, l)| (*at, l.replace("{n}", &n))));
        }
    }
    out
}
