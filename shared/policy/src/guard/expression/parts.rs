//! The nodes that are harmless in themselves and hold others.

use pg_query::NodeRef;
use pg_query::protobuf;

use pg_query::protobuf::AExprKind;

use super::{Verdict, Walk, not_understood};

/// Kinds whose name is not that of the operators behind them.
const BETWEEN: [AExprKind; 4] = [
    AExprKind::AexprBetween,
    AExprKind::AexprNotBetween,
    AExprKind::AexprBetweenSym,
    AExprKind::AexprNotBetweenSym,
];

impl<'a> Walk<'a> {
    pub(super) fn visit_part(&mut self, node: NodeRef<'a>) -> Verdict {
        match node {
            NodeRef::ResTarget(protobuf::ResTarget {
                name: _,
                indirection,
                val,
                location: _,
            }) => {
                self.many(indirection);
                self.one(val);
            }
            NodeRef::AExpr(protobuf::AExpr {
                kind,
                name,
                lexpr,
                rexpr,
                rexpr_list_start: _,
                rexpr_list_end: _,
                location: _,
            }) => {
                if BETWEEN.iter().any(|between| *between as i32 == *kind) {
                    self.implied(&["<=", ">=", "<", ">"]);
                } else {
                    self.operator(name)?;
                }
                self.one(lexpr);
                self.one(rexpr);
            }
            NodeRef::BoolExpr(protobuf::BoolExpr {
                xpr,
                boolop: _,
                args,
                location: _,
            }) => {
                self.one(xpr);
                self.many(args);
            }
            NodeRef::NullTest(protobuf::NullTest {
                xpr,
                arg,
                nulltesttype: _,
                argisrow: _,
                location: _,
            }) => {
                self.one(xpr);
                self.one(arg);
            }
            NodeRef::BooleanTest(protobuf::BooleanTest {
                xpr,
                arg,
                booltesttype: _,
                location: _,
            }) => {
                self.one(xpr);
                self.one(arg);
            }
            NodeRef::SubLink(protobuf::SubLink {
                xpr,
                sub_link_type: _,
                sub_link_id: _,
                testexpr,
                oper_name,
                subselect,
                location: _,
            }) => {
                match (oper_name.is_empty(), testexpr) {
                    (false, _) => self.operator(oper_name)?,
                    (true, Some(_)) => self.implied(&["="]),
                    (true, None) => {}
                }
                self.one(xpr);
                self.one(testexpr);
                self.one(subselect);
            }
            NodeRef::TypeCast(protobuf::TypeCast {
                arg,
                type_name,
                location: _,
            }) => {
                self.one(arg);
                self.push(type_name.as_ref(), NodeRef::TypeName);
            }
            NodeRef::TypeName(protobuf::TypeName {
                names,
                type_oid: _,
                setof: _,
                pct_type: _,
                typmods,
                typemod: _,
                array_bounds,
                location: _,
            }) => {
                match super::schema_and_name(names) {
                    Some(name) => {
                        self.types.insert(name);
                    }
                    None => return Err(not_understood("a type without a name")),
                }
                self.many(typmods);
                self.many(array_bounds);
            }
            NodeRef::CaseExpr(protobuf::CaseExpr {
                xpr,
                casetype: _,
                casecollid: _,
                arg,
                args,
                defresult,
                location: _,
            }) => {
                if arg.is_some() {
                    self.implied(&["="]);
                }
                self.one(xpr);
                self.one(arg);
                self.many(args);
                self.one(defresult);
            }
            NodeRef::CaseWhen(protobuf::CaseWhen {
                xpr,
                expr,
                result,
                location: _,
            }) => {
                self.one(xpr);
                self.one(expr);
                self.one(result);
            }
            NodeRef::CoalesceExpr(protobuf::CoalesceExpr {
                xpr,
                coalescetype: _,
                coalescecollid: _,
                args,
                location: _,
            }) => {
                self.one(xpr);
                self.many(args);
            }
            NodeRef::MinMaxExpr(protobuf::MinMaxExpr {
                xpr,
                minmaxtype: _,
                minmaxcollid: _,
                inputcollid: _,
                op: _,
                args,
                location: _,
            }) => {
                self.implied(&["<"]);
                self.one(xpr);
                self.many(args);
            }
            NodeRef::RowExpr(protobuf::RowExpr {
                xpr,
                args,
                row_typeid: _,
                row_format: _,
                colnames,
                location: _,
            }) => {
                self.one(xpr);
                self.many(args);
                self.many(colnames);
            }
            NodeRef::AArrayExpr(protobuf::AArrayExpr {
                elements,
                list_start: _,
                list_end: _,
                location: _,
            }) => self.many(elements),
            NodeRef::AIndices(protobuf::AIndices {
                is_slice: _,
                lidx,
                uidx,
            }) => {
                self.one(lidx);
                self.one(uidx);
            }
            NodeRef::CollateClause(protobuf::CollateClause {
                arg,
                collname: _,
                location: _,
            }) => {
                self.one(arg);
            }
            NodeRef::NamedArgExpr(protobuf::NamedArgExpr {
                xpr,
                arg,
                name: _,
                argnumber: _,
                location: _,
            }) => {
                self.one(xpr);
                self.one(arg);
            }
            NodeRef::GroupingFunc(protobuf::GroupingFunc {
                xpr,
                args,
                refs,
                agglevelsup: _,
                location: _,
            }) => {
                self.one(xpr);
                self.many(args);
                self.many(refs);
            }
            NodeRef::DefElem(protobuf::DefElem {
                defnamespace: _,
                defname: _,
                arg,
                defaction: _,
                location: _,
                arg_location: _,
            }) => self.one(arg),
            _ => return self.visit_clause(node),
        }
        Ok(())
    }
}
