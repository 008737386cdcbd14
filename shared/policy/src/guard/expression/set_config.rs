//! `set_config` is SET as a function: clients use it at the start of a session for settings that are harmless.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, RangeVar, SelectStmt};

use super::Verdict;
use crate::guard::constant::{constant_text, is_column, name_parts};
use crate::guard::setting::{SettingValue, judge_setting};

const NAME: &str = "set_config";

/// Whether this is a call of `set_config` for a setting that is named in the text and may be changed. `Ok(false)`
/// leaves the call to the judge of functions.
pub(super) fn is_harmless(function: &str, args: &[Node]) -> Result<bool, crate::Refusal> {
    let (true, [name, value, _is_local]) = (function == NAME, args) else {
        return Ok(false);
    };
    match constant_text(name) {
        Some(name) => judge(&name, value).map(|()| true),
        None => Ok(false),
    }
}

fn judge(name: &str, value: &Node) -> Verdict {
    let value = constant_text(value);
    judge_setting(
        name,
        value
            .as_deref()
            .map_or(SettingValue::Opaque, SettingValue::Constant),
    )
}

/// The setting's name in `… FROM pg_settings WHERE name = '<setting>'`. `pg_dump` and `pgAdmin` write
/// `SELECT set_config(name, 'value', false)` so, to set only what the server knows.
pub(super) fn pinned_name(select: &SelectStmt) -> Option<&str> {
    let [from] = select.from_clause.as_slice() else {
        return None;
    };
    let is_settings = match from.node.as_ref()? {
        NodeEnum::RangeVar(RangeVar {
            schemaname,
            relname,
            ..
        }) => ["", "pg_catalog"].contains(&schemaname.as_str()) && relname == "pg_settings",
        _ => false,
    };
    let NodeEnum::AExpr(comparison) = select.where_clause.as_deref()?.node.as_ref()? else {
        return None;
    };
    let is_equality = name_parts(&comparison.name).as_deref() == Some(&["="]);
    let compares_name = comparison
        .lexpr
        .as_deref()
        .is_some_and(|node| is_column(node, "name"));
    if !(is_settings && is_equality && compares_name) {
        return None;
    }
    match comparison.rexpr.as_deref()?.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            pg_query::protobuf::a_const::Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        _ => None,
    }
}

/// A call of `set_config` for the pinned setting, with the verdict on it.
pub(super) struct PinnedCall<'a> {
    pub(super) judged: Verdict,
    /// What else is in the call and has to be looked at.
    pub(super) args: &'a [Node],
}

/// Takes `target` for a call of `set_config(name, …)`, where `name` is pinned to the setting `setting`.
pub(super) fn of_pinned_name<'a>(target: &'a Node, setting: &str) -> Option<PinnedCall<'a>> {
    let NodeEnum::ResTarget(target) = target.node.as_ref()? else {
        return None;
    };
    let NodeEnum::FuncCall(call) = target.val.as_deref()?.node.as_ref()? else {
        return None;
    };
    let FuncCall { funcname, args, .. } = call.as_ref();
    let [name, value, _is_local] = args.as_slice() else {
        return None;
    };
    let is_set_config = name_parts(funcname)?.last() == Some(&NAME);
    (is_set_config && is_column(name, "name")).then(|| PinnedCall {
        judged: judge(setting, value),
        args,
    })
}
