//! The SQL/JSON nodes (SQL:2016, PostgreSQL 16 and later).
//!
//! To an older server `json_value(a, b)` is a call of a function of that name, if somebody made one: these are
//! recorded as functions too.

use pg_query::NodeRef;
use pg_query::protobuf;

use pg_query::protobuf::JsonExprOp;

use super::{Verdict, Walk, not_understood};
use crate::guard::uses::Notation;

fn function_to_an_older_server(node: NodeRef<'_>) -> Option<&'static str> {
    Some(match node {
        NodeRef::JsonFuncExpr(call) => match call.op() {
            JsonExprOp::JsonExistsOp => "json_exists",
            JsonExprOp::JsonQueryOp => "json_query",
            JsonExprOp::JsonValueOp => "json_value",
            JsonExprOp::JsonTableOp | JsonExprOp::Undefined => "json_table",
        },
        NodeRef::JsonParseExpr(_) => "json",
        NodeRef::JsonScalarExpr(_) => "json_scalar",
        NodeRef::JsonSerializeExpr(_) => "json_serialize",
        NodeRef::JsonObjectConstructor(_) => "json_object",
        NodeRef::JsonArrayConstructor(_) => "json_array",
        NodeRef::JsonObjectAgg(_) => "json_objectagg",
        NodeRef::JsonArrayAgg(_) => "json_arrayagg",
        _ => return None,
    })
}

impl<'a> Walk<'a> {
    pub(super) fn visit_json(&mut self, node: NodeRef<'a>) -> Verdict {
        if let Some(name) = function_to_an_older_server(node) {
            self.functions.insert((None, name, Notation::Syntax));
        }
        match node {
            NodeRef::JsonValueExpr(protobuf::JsonValueExpr {
                raw_expr,
                formatted_expr,
                format: _,
            }) => {
                self.one(raw_expr);
                self.one(formatted_expr);
            }
            NodeRef::JsonOutput(protobuf::JsonOutput {
                type_name,
                returning: _,
            }) => {
                self.push(type_name.as_ref(), NodeRef::TypeName);
            }
            NodeRef::JsonBehavior(protobuf::JsonBehavior {
                btype: _,
                expr,
                coerce: _,
                location: _,
            }) => self.one(expr),
            NodeRef::JsonArgument(protobuf::JsonArgument { val, name: _ }) => {
                self.push(val.as_deref(), NodeRef::JsonValueExpr);
            }
            NodeRef::JsonKeyValue(protobuf::JsonKeyValue { key, value }) => {
                self.one(key);
                self.push(value.as_deref(), NodeRef::JsonValueExpr);
            }
            NodeRef::JsonFuncExpr(protobuf::JsonFuncExpr {
                op: _,
                column_name: _,
                context_item,
                pathspec,
                passing,
                output,
                on_empty,
                on_error,
                wrapper: _,
                quotes: _,
                location: _,
            }) => {
                self.push(context_item.as_deref(), NodeRef::JsonValueExpr);
                self.one(pathspec);
                self.many(passing);
                self.push(output.as_ref(), NodeRef::JsonOutput);
                self.push(on_empty.as_deref(), NodeRef::JsonBehavior);
                self.push(on_error.as_deref(), NodeRef::JsonBehavior);
            }
            NodeRef::JsonIsPredicate(protobuf::JsonIsPredicate {
                expr,
                format: _,
                item_type: _,
                unique_keys: _,
                location: _,
            }) => self.one(expr),
            NodeRef::JsonParseExpr(protobuf::JsonParseExpr {
                expr,
                output,
                unique_keys: _,
                location: _,
            })
            | NodeRef::JsonSerializeExpr(protobuf::JsonSerializeExpr {
                expr,
                output,
                location: _,
            }) => {
                self.push(expr.as_deref(), NodeRef::JsonValueExpr);
                self.push(output.as_ref(), NodeRef::JsonOutput);
            }
            NodeRef::JsonScalarExpr(protobuf::JsonScalarExpr {
                expr,
                output,
                location: _,
            }) => {
                self.one(expr);
                self.push(output.as_ref(), NodeRef::JsonOutput);
            }
            NodeRef::JsonTable(table) => self.visit_json_table(table),
            NodeRef::JsonTableColumn(column) => self.visit_json_table_column(column),
            NodeRef::JsonTablePathSpec(protobuf::JsonTablePathSpec {
                string,
                name: _,
                name_location: _,
                location: _,
            }) => self.one(string),
            _ => return self.visit_json_constructor(node),
        }
        Ok(())
    }

    fn visit_json_constructor(&mut self, node: NodeRef<'a>) -> Verdict {
        match node {
            NodeRef::JsonObjectConstructor(protobuf::JsonObjectConstructor {
                exprs,
                output,
                absent_on_null: _,
                unique: _,
                location: _,
            })
            | NodeRef::JsonArrayConstructor(protobuf::JsonArrayConstructor {
                exprs,
                output,
                absent_on_null: _,
                location: _,
            }) => {
                self.many(exprs);
                self.push(output.as_ref(), NodeRef::JsonOutput);
            }
            NodeRef::JsonArrayQueryConstructor(protobuf::JsonArrayQueryConstructor {
                query,
                output,
                format: _,
                absent_on_null: _,
                location: _,
            }) => {
                self.one(query);
                self.push(output.as_ref(), NodeRef::JsonOutput);
            }
            NodeRef::JsonAggConstructor(constructor) => self.visit_json_aggregate(constructor),
            NodeRef::JsonObjectAgg(protobuf::JsonObjectAgg {
                constructor,
                arg,
                absent_on_null: _,
                unique: _,
            }) => {
                self.push(constructor.as_deref(), NodeRef::JsonAggConstructor);
                self.push(arg.as_deref(), NodeRef::JsonKeyValue);
            }
            NodeRef::JsonArrayAgg(protobuf::JsonArrayAgg {
                constructor,
                arg,
                absent_on_null: _,
            }) => {
                self.push(constructor.as_deref(), NodeRef::JsonAggConstructor);
                self.push(arg.as_deref(), NodeRef::JsonValueExpr);
            }
            // Data-modifying queries in WITH, and every node of which nothing is known.
            _ => return Err(not_understood("a part")),
        }
        Ok(())
    }

    fn visit_json_aggregate(&mut self, constructor: &'a protobuf::JsonAggConstructor) {
        let protobuf::JsonAggConstructor {
            output,
            agg_filter,
            agg_order,
            over,
            location: _,
        } = constructor;
        self.push(output.as_ref(), NodeRef::JsonOutput);
        self.one(agg_filter);
        self.many(agg_order);
        self.push(over.as_deref(), NodeRef::WindowDef);
    }

    fn visit_json_table(&mut self, table: &'a protobuf::JsonTable) {
        let protobuf::JsonTable {
            context_item,
            pathspec,
            passing,
            columns,
            on_error,
            alias: _,
            lateral: _,
            location: _,
        } = table;
        self.push(context_item.as_deref(), NodeRef::JsonValueExpr);
        self.push(pathspec.as_deref(), NodeRef::JsonTablePathSpec);
        self.many(passing);
        self.many(columns);
        self.push(on_error.as_deref(), NodeRef::JsonBehavior);
    }

    fn visit_json_table_column(&mut self, column: &'a protobuf::JsonTableColumn) {
        let protobuf::JsonTableColumn {
            coltype: _,
            name: _,
            type_name,
            pathspec,
            format: _,
            wrapper: _,
            quotes: _,
            columns,
            on_empty,
            on_error,
            location: _,
        } = column;
        self.push(type_name.as_ref(), NodeRef::TypeName);
        self.push(pathspec.as_deref(), NodeRef::JsonTablePathSpec);
        self.many(columns);
        self.push(on_empty.as_deref(), NodeRef::JsonBehavior);
        self.push(on_error.as_deref(), NodeRef::JsonBehavior);
    }
}
