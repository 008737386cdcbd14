//! Every line of `tests/corpus` gets the verdict of its section, as far as that needs no target; the end-to-end tests
//! run the same lines through a proxy.

use pglens_core::AccessLevel;
use pglens_policy::startup::judge_startup_parameter;
use pglens_policy::{AllowedFunctions, Catalog, ControlGuard, Refusal, analyze};
use pglens_testkit::corpus::{Case, Step, read};

const READ_ATTACKS: &str = include_str!("../corpus/read_attacks.sql");
const READ_HONEST: &str = include_str!("../corpus/read_honest.sql");
const WRITE_ATTACKS: &str = include_str!("../corpus/write_attacks.sql");
const WRITE_HONEST: &str = include_str!("../corpus/write_honest.sql");

/// What a session of a read grant would say, without knowing the target; nothing of what is no SQL.
#[expect(clippy::unwrap_used, reason = "a list of names that is right")]
fn read_verdict(step: &Step) -> Option<Result<(), Refusal>> {
    let allowed = AllowedFunctions::parse(&["app.coupon", "app.allowed_unlock"]).unwrap();
    match step {
        Step::Startup(name, value) => Some(judge_startup_parameter(name, value, AccessLevel::Read)),
        Step::Query(sql) | Step::Extended(sql, _) => {
            Some(Catalog::unavailable(allowed).check(&analyze(sql)))
        }
        Step::Call(..) | Step::Raw(_) => None,
    }
}

fn first_refusal(
    case: &Case,
    verdict: impl Fn(&Step) -> Option<Result<(), Refusal>>,
) -> Option<Refusal> {
    case.steps.iter().find_map(|step| verdict(step)?.err())
}

/// Without a catalog, everything that only a catalog could allow is refused as well.
#[test]
fn every_attack_on_a_read_grant_is_refused() {
    let cases = read(READ_ATTACKS);
    assert!(cases.len() >= 500, "only {} attacks", cases.len());
    let judged = |case: &&Case| {
        let judgeable = case.steps.iter().all(|step| read_verdict(step).is_some());
        judgeable && case.section != "-" && !case.section.contains('(')
    };
    let mut wrong = Vec::new();
    for case in cases.iter().filter(judged) {
        match first_refusal(case, read_verdict) {
            // Operators and types of the target's are unknown here, and so is what calls its functions.
            Some(refusal) if refusal.rule == case.section => {
                let sqlstate = refusal.code.sqlstate();
                assert!(
                    ["25006", "42501", "42601", "0A000"].contains(&sqlstate),
                    "{}: {refusal:?}",
                    case.line
                );
            }
            other => wrong.push(format!("{}: {}\n    {other:?}", case.section, case.line)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What needs no function, operator or type of the target's own passes without its catalog too.
#[test]
fn every_honest_text_passes() {
    let cases = read(READ_HONEST);
    assert!(cases.len() >= 250, "only {} texts", cases.len());
    let mut wrong = Vec::new();
    for case in cases {
        let texts = case.steps.iter().filter_map(|step| match step {
            Step::Query(sql) | Step::Extended(sql, _) => Some(sql),
            _ => None,
        });
        for sql in texts {
            let analysis = analyze(sql);
            for statement in &analysis.statements {
                if statement.fingerprint.make(sql).is_none() {
                    wrong.push(format!("{}: no fingerprint", case.line));
                }
                if let Err(refusal) = &statement.read_verdict {
                    wrong.push(format!("{}: {}\n    {refusal:?}", case.section, case.line));
                }
            }
        }
        let startup = case
            .steps
            .iter()
            .filter(|step| matches!(step, Step::Startup(..)));
        for step in startup {
            assert_eq!(read_verdict(step), Some(Ok(())), "{}", case.line);
        }
        let of_the_owner = case.section.contains("owner")
            || case.line.contains("tax(")
            || case.line.contains("information_schema._pg");
        if !of_the_owner && let Some(refusal) = first_refusal(&case, read_verdict) {
            wrong.push(format!("{}: {}\n    {refusal:?}", case.section, case.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An honest statement with an attack behind it, in front of it or inside it is an attack.
#[test]
fn company_does_not_help() {
    let cases = read(READ_HONEST).into_iter();
    let texts = cases
        .flat_map(|case| case.steps)
        .filter_map(|step| match step {
            Step::Query(sql) => Some(sql),
            _ => None,
        });
    for honest in texts.filter(|sql| !sql.contains("--")) {
        for sql in [
            format!("{honest}; DELETE FROM t"),
            format!("DELETE FROM t; {honest}"),
        ] {
            let catalog = Catalog::unavailable(AllowedFunctions::default());
            assert!(catalog.check(&analyze(&sql)).is_err(), "{sql}");
        }
    }
}

#[test]
fn controls_of_write_grants_stop_their_attacks_and_nothing_else() {
    let verdict = |section: &str, step: &Step| {
        let controls = ControlGuard {
            block_copy: section != "control.block_ddl",
            block_ddl: section != "control.block_copy",
        };
        match step {
            Step::Query(sql) | Step::Extended(sql, _) => Some(controls.check(&analyze(sql))),
            _ => None,
        }
    };
    let mut wrong = Vec::new();
    let attacks = read(WRITE_ATTACKS);
    assert!(attacks.len() >= 50, "only {} attacks", attacks.len());
    for case in attacks
        .iter()
        .filter(|case| !case.line.starts_with("\\call"))
    {
        let refusal = first_refusal(case, |step| verdict(&case.section, step));
        let rule = refusal.as_ref().map(|refusal| refusal.rule);
        if rule != Some(&*case.section) && rule != Some("control.not_understood") {
            wrong.push(format!("{}: {}\n    {refusal:?}", case.section, case.line));
        }
    }
    let honest = read(WRITE_HONEST);
    assert!(honest.len() >= 40, "only {} texts", honest.len());
    for case in honest {
        if let Some(refusal) = first_refusal(&case, |step| verdict(&case.section, step)) {
            wrong.push(format!("{}\n    {refusal:?}", case.line));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
