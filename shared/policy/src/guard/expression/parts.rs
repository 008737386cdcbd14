//! The nodes that are harmless in themselves and hold others.

use pg_query::NodeRef;
use pg_query::protobuf;

use super::{Verdict, Walk, not_understood};

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
                kind: _,
                name: _, // the operator; the function behind it is for a judge that knows the catalog
                lexpr,
                rexpr,
                rexpr_list_start: _,
                rexpr_list_end: _,
                location: _,
            }) => {
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
                oper_name: _,
                subselect,
                location: _,
            }) => {
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
                names: _,
                type_oid: _,
                setof: _,
                pct_type: _,
                typmods,
                typemod: _,
                array_bounds,
                location: _,
            }) => {
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

    /// The clauses of a query.
    fn visit_clause(&mut self, node: NodeRef<'a>) -> Verdict {
        match node {
            NodeRef::RangeSubselect(protobuf::RangeSubselect {
                lateral: _,
                subquery,
                alias: _,
            }) => {
                self.one(subquery);
            }
            NodeRef::RangeFunction(protobuf::RangeFunction {
                lateral: _,
                ordinality: _,
                is_rowsfrom: _,
                functions,
                alias: _,
                coldeflist,
            }) => {
                self.many(functions);
                self.many(coldeflist);
            }
            NodeRef::JoinExpr(protobuf::JoinExpr {
                jointype: _,
                is_natural: _,
                larg,
                rarg,
                using_clause: _,
                join_using_alias: _,
                quals,
                alias: _,
                rtindex: _,
            }) => {
                self.one(larg);
                self.one(rarg);
                self.one(quals);
            }
            NodeRef::SortBy(protobuf::SortBy {
                node,
                sortby_dir: _,
                sortby_nulls: _,
                use_op: _,
                location: _,
            }) => self.one(node),
            NodeRef::WindowDef(protobuf::WindowDef {
                name: _,
                refname: _,
                partition_clause,
                order_clause,
                frame_options: _,
                start_offset,
                end_offset,
                location: _,
            }) => {
                self.many(partition_clause);
                self.many(order_clause);
                self.one(start_offset);
                self.one(end_offset);
            }
            NodeRef::GroupingSet(protobuf::GroupingSet {
                kind: _,
                content,
                location: _,
            }) => {
                self.many(content);
            }
            NodeRef::WithClause(protobuf::WithClause {
                ctes,
                recursive: _,
                location: _,
            }) => {
                self.many(ctes);
            }
            NodeRef::CommonTableExpr(expression) => self.visit_with_query(expression),
            NodeRef::CtecycleClause(protobuf::CteCycleClause {
                cycle_col_list: _,
                cycle_mark_column: _,
                cycle_mark_value,
                cycle_mark_default,
                cycle_path_column: _,
                location: _,
                cycle_mark_type: _,
                cycle_mark_typmod: _,
                cycle_mark_collation: _,
                cycle_mark_neop: _,
            }) => {
                self.one(cycle_mark_value);
                self.one(cycle_mark_default);
            }
            NodeRef::ColumnDef(definition) => return self.visit_column_definition(definition),
            _ => return self.visit_xml(node),
        }
        Ok(())
    }

    /// A data-modifying query in WITH is a node that no rule here knows.
    fn visit_with_query(&mut self, expression: &'a protobuf::CommonTableExpr) {
        let protobuf::CommonTableExpr {
            ctename: _,
            aliascolnames: _,
            ctematerialized: _,
            ctequery,
            search_clause: _,
            cycle_clause,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = expression;
        self.one(ctequery);
        self.push(cycle_clause.as_deref(), NodeRef::CtecycleClause);
    }

    /// `name type` in `FROM f() AS t(name type)`; anything more belongs to CREATE TABLE.
    fn visit_column_definition(&mut self, definition: &'a protobuf::ColumnDef) -> Verdict {
        let protobuf::ColumnDef {
            colname: _,
            type_name,
            compression: _,
            inhcount: _,
            is_local: _,
            is_not_null: _,
            is_from_type: _,
            storage: _,
            storage_name: _,
            raw_default,
            cooked_default,
            identity: _,
            identity_sequence,
            generated: _,
            coll_clause,
            coll_oid: _,
            constraints,
            fdwoptions,
            location: _,
        } = definition;
        let is_plain = raw_default.is_none()
            && cooked_default.is_none()
            && identity_sequence.is_none()
            && constraints.is_empty()
            && fdwoptions.is_empty();
        if !is_plain {
            return Err(not_understood(
                "a column definition with more than name and type",
            ));
        }
        self.push(type_name.as_ref(), NodeRef::TypeName);
        self.push(coll_clause.as_deref(), NodeRef::CollateClause);
        Ok(())
    }
}
