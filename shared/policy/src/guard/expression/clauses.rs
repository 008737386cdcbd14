//! The clauses of a query.

use pg_query::NodeRef;
use pg_query::protobuf;

use super::{Verdict, Walk, not_understood};

impl<'a> Walk<'a> {
    /// The clauses of a query.
    pub(super) fn visit_clause(&mut self, node: NodeRef<'a>) -> Verdict {
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
                self.calls_in_from = true;
                self.many(functions);
                self.many(coldeflist);
            }
            NodeRef::JoinExpr(protobuf::JoinExpr {
                jointype: _,
                is_natural,
                larg,
                rarg,
                using_clause,
                join_using_alias: _,
                quals,
                alias: _,
                rtindex: _,
            }) => {
                if *is_natural || !using_clause.is_empty() {
                    self.implied(&["="]);
                }
                self.one(larg);
                self.one(rarg);
                self.one(quals);
            }
            NodeRef::SortBy(protobuf::SortBy {
                node,
                sortby_dir: _,
                sortby_nulls: _,
                use_op,
                location: _,
            }) => {
                if use_op.is_empty() {
                    self.implied(&["=", "<"]);
                } else {
                    self.operator(use_op)?;
                }
                self.one(node);
            }
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
