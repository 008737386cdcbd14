//! Reading constants out of a parse tree.

use std::borrow::Cow;

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{AConst, Node};

/// The text of a constant, with any cast taken off; `None` for what only the server can evaluate.
pub(super) fn constant_text(node: &Node) -> Option<Cow<'_, str>> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => const_text(constant),
        NodeEnum::TypeCast(cast) => match cast.arg.as_deref()?.node.as_ref()? {
            NodeEnum::AConst(constant) => const_text(constant),
            _ => None,
        },
        _ => None,
    }
}

fn const_text(constant: &AConst) -> Option<Cow<'_, str>> {
    match constant.val.as_ref()? {
        Val::Sval(text) => Some(Cow::Borrowed(&text.sval)),
        Val::Fval(number) => Some(Cow::Borrowed(&number.fval)),
        Val::Ival(number) => Some(Cow::Owned(number.ival.to_string())),
        Val::Boolval(value) => Some(Cow::Borrowed(if value.boolval { "on" } else { "off" })),
        Val::Bsval(_) => None,
    }
}

/// The strings of a name such as `pg_catalog.set_config`, or `None` if it holds anything else.
pub(super) fn name_parts(nodes: &[Node]) -> Option<Vec<&str>> {
    nodes
        .iter()
        .map(|node| match node.node.as_ref()? {
            NodeEnum::String(part) => Some(part.sval.as_str()),
            _ => None,
        })
        .collect()
}

/// Whether `node` is a column of this name, qualified or not.
pub(super) fn is_column(node: &Node, name: &str) -> bool {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => {
            name_parts(&column.fields).is_some_and(|parts| parts.last() == Some(&name))
        }
        _ => false,
    }
}
