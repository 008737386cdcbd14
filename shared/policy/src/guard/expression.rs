//! Walks everything inside a query that may run under a read grant, and refuses what is not on its list.
//!
//! Every node is taken apart field by field, without `..`: a field that a new version of the parser adds does not
//! compile here until somebody has looked at it, and a node that nobody has looked at is refused. The walk keeps its
//! own stack, so deep trees cost memory and not the thread.

mod clauses;
mod json;
mod parts;
mod set_config;
mod xml;

use std::collections::BTreeSet;

use pg_query::protobuf::{self, Node};
use pg_query::{NodeEnum, NodeRef};

use super::constant::name_parts;
use super::relation;
use super::uses::{FunctionRef, NameRef, Notation, Uses};
use crate::refusal::Refusal;

type Verdict = Result<(), Refusal>;

/// A name and the schema in front of it, if there is one.
type Name<'a> = (Option<&'a str>, &'a str);

/// The nodes still to be looked at, and what was met so far that a catalog has to be asked about.
#[derive(Default)]
pub(super) struct Walk<'a> {
    pending: Vec<NodeRef<'a>>,
    functions: BTreeSet<(Option<&'a str>, &'a str, Notation)>,
    operators: BTreeSet<Name<'a>>,
    types: BTreeSet<Name<'a>>,
    /// A function is among the tables: its alias may stand for a single value.
    calls_in_from: bool,
}

impl<'a> Walk<'a> {
    /// Checks a node and everything below it.
    pub(super) fn check(&mut self, root: NodeRef<'a>) -> Verdict {
        self.pending.push(root);
        while let Some(node) = self.pending.pop() {
            self.visit(node)?;
        }
        Ok(())
    }

    /// Checks a list of nodes and everything below them.
    pub(super) fn check_all(&mut self, nodes: &'a [Node]) -> Verdict {
        nodes
            .iter()
            .filter_map(|node| node.node.as_ref())
            .try_for_each(|node| self.check(node.to_ref()))
    }

    /// What was met, in a stable order.
    pub(super) fn into_uses(self) -> Uses {
        let calls_in_from = self.calls_in_from;
        let function = |(schema, name, notation): (Option<&str>, &str, Notation)| FunctionRef {
            schema: schema.map(Into::into),
            name: name.into(),
            notation: match notation {
                Notation::OfRow if calls_in_from => Notation::OfAny,
                notation => notation,
            },
        };
        let named = |(schema, name): Name<'_>| NameRef {
            schema: schema.map(Into::into),
            name: name.into(),
        };
        Uses {
            functions: self.functions.into_iter().map(function).collect(),
            operators: self.operators.into_iter().map(named).collect(),
            types: self.types.into_iter().map(named).collect(),
        }
    }

    fn operator(&mut self, name: &'a [Node]) -> Verdict {
        match schema_and_name(name) {
            Some(name) => {
                self.operators.insert(name);
                Ok(())
            }
            None => Err(not_understood("an operator without a name")),
        }
    }

    /// What comparing, sorting and grouping use without naming it.
    fn implied(&mut self, operators: &[&'static str]) {
        self.operators
            .extend(operators.iter().map(|operator| (None, *operator)));
    }

    fn many(&mut self, nodes: &'a [Node]) {
        // An element without a node is a NULL in the list, as in a plain DISTINCT.
        self.pending.extend(
            nodes
                .iter()
                .filter_map(|node| node.node.as_ref())
                .map(NodeEnum::to_ref),
        );
    }

    fn one(&mut self, node: &'a Option<Box<Node>>) {
        self.pending.extend(
            node.as_deref()
                .and_then(|node| node.node.as_ref())
                .map(NodeEnum::to_ref),
        );
    }

    fn push<T: ?Sized>(&mut self, node: Option<&'a T>, as_ref: impl FnOnce(&'a T) -> NodeRef<'a>) {
        self.pending.extend(node.map(as_ref));
    }

    fn visit(&mut self, node: NodeRef<'a>) -> Verdict {
        match node {
            NodeRef::AConst(_)
            | NodeRef::AStar(_)
            | NodeRef::ParamRef(_)
            | NodeRef::SqlvalueFunction(_)
            | NodeRef::String(_)
            | NodeRef::Integer(_)
            | NodeRef::Float(_)
            | NodeRef::Boolean(_)
            | NodeRef::BitString(_)
            | NodeRef::Alias(_)
            | NodeRef::CtesearchClause(_) => Ok(()),
            NodeRef::RangeVar(relation) => relation::judge(relation),
            NodeRef::List(protobuf::List { items }) => {
                self.many(items);
                Ok(())
            }
            NodeRef::SelectStmt(select) => self.visit_select(select),
            NodeRef::FuncCall(call) => self.visit_call(call),
            NodeRef::ColumnRef(column) => self.visit_column(column),
            NodeRef::AIndirection(indirection) => self.visit_indirection(indirection),
            NodeRef::RangeTableSample(sample) => self.visit_sample(sample),
            _ => self.visit_part(node),
        }
    }

    fn visit_select(&mut self, select: &'a protobuf::SelectStmt) -> Verdict {
        let protobuf::SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause,
            op,
            all: _,
            larg,
            rarg,
        } = select;
        if into_clause.is_some() {
            return Err(Refusal::read_grant(
                "read_grant.select_into",
                "cannot execute SELECT INTO under a read grant",
                "It creates a table.",
            ));
        }
        if !locking_clause.is_empty() {
            return Err(Refusal::read_grant(
                "read_grant.row_lock",
                "cannot execute SELECT FOR UPDATE or FOR SHARE under a read grant",
                "Row locks are written to the table.",
            ));
        }
        let compares = !(distinct_clause.is_empty() && group_clause.is_empty());
        if compares || protobuf::SetOperation::SetopNone as i32 != *op {
            self.implied(&["=", "<"]);
        }
        let pinned = set_config::pinned_name(select);
        for target in target_list {
            match pinned.and_then(|name| set_config::of_pinned_name(target, name)) {
                Some(call) => {
                    call.judged?;
                    self.many(call.args);
                }
                None => self.many(std::slice::from_ref(target)),
            }
        }
        for list in [
            distinct_clause,
            from_clause,
            group_clause,
            window_clause,
            values_lists,
            sort_clause,
        ] {
            self.many(list);
        }
        for node in [where_clause, having_clause, limit_offset, limit_count] {
            self.one(node);
        }
        self.push(with_clause.as_ref(), NodeRef::WithClause);
        self.push(larg.as_deref(), NodeRef::SelectStmt);
        self.push(rarg.as_deref(), NodeRef::SelectStmt);
        Ok(())
    }

    fn visit_call(&mut self, call: &'a protobuf::FuncCall) -> Verdict {
        let protobuf::FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group,
            agg_star: _,
            agg_distinct,
            func_variadic,
            funcformat,
            location: _,
        } = call;
        let Some((schema, name)) = schema_and_name(funcname) else {
            return Err(not_understood("a function without a name"));
        };
        let count = u16::try_from(args.len()).ok();
        let is_syntax = protobuf::CoercionForm::CoerceSqlSyntax as i32 == *funcformat;
        let notation = match count {
            _ if is_syntax => Notation::Syntax,
            _ if *agg_within_group || *func_variadic => Notation::Call(None),
            // The form of `ts_rewrite` that runs a query has two arguments.
            Some(3) if name == "ts_rewrite" => Notation::Judged(3),
            Some(count) if set_config::is_harmless(name, args)? => Notation::Judged(count),
            count => Notation::Call(count),
        };
        self.functions.insert((schema, name, notation));
        if *agg_distinct || !agg_order.is_empty() {
            self.implied(&["=", "<"]);
        }
        self.many(args);
        self.many(agg_order);
        self.one(agg_filter);
        self.push(over.as_deref(), NodeRef::WindowDef);
        Ok(())
    }

    /// `a.b` calls the function `b` if the row `a` has no such column.
    fn visit_column(&mut self, column: &'a protobuf::ColumnRef) -> Verdict {
        let protobuf::ColumnRef {
            fields,
            location: _,
        } = column;
        self.attributes(fields.get(1..).unwrap_or_default(), Notation::OfRow);
        Ok(())
    }

    /// `(x).f` likewise, and for values of every type.
    fn visit_indirection(&mut self, indirection: &'a protobuf::AIndirection) -> Verdict {
        let protobuf::AIndirection { arg, indirection } = indirection;
        self.one(arg);
        self.attributes(indirection, Notation::OfAny);
        self.many(indirection);
        Ok(())
    }

    fn attributes(&mut self, fields: &'a [Node], notation: Notation) {
        let names = fields.iter().filter_map(|field| match &field.node {
            Some(NodeEnum::String(name)) => Some((None, name.sval.as_str(), notation)),
            _ => None,
        });
        self.functions.extend(names);
    }

    /// The sampling method is a function by another grammar.
    fn visit_sample(&mut self, sample: &'a protobuf::RangeTableSample) -> Verdict {
        const METHODS: [&str; 4] = ["bernoulli", "system", "system_rows", "system_time"];
        let protobuf::RangeTableSample {
            relation,
            method,
            args,
            repeatable,
            location: _,
        } = sample;
        let name = name_parts(method).and_then(|parts| parts.last().copied());
        if !name.is_some_and(|name| METHODS.contains(&name)) {
            return Err(not_understood(
                "a sampling method other than PostgreSQL's own",
            ));
        }
        self.one(relation);
        self.many(args);
        self.one(repeatable);
        Ok(())
    }
}

/// A name of one or two parts; of three, the first is the database.
fn schema_and_name(nodes: &[Node]) -> Option<Name<'_>> {
    match name_parts(nodes).as_deref() {
        Some([name]) => Some((None, name)),
        Some([.., schema, name]) => Some((Some(schema), name)),
        _ => None,
    }
}

/// The refusal of a part of a statement that is not on the list.
fn not_understood(what: &str) -> Refusal {
    Refusal::read_grant(
        "read_grant.not_understood",
        "cannot execute this statement under a read grant",
        format!("It holds {what}, which is not known to change nothing."),
    )
}
