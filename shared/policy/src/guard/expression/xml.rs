//! The SQL/XML nodes.

use pg_query::NodeRef;
use pg_query::protobuf;

use super::{Verdict, Walk};

impl<'a> Walk<'a> {
    pub(super) fn visit_xml(&mut self, node: NodeRef<'a>) -> Verdict {
        match node {
            NodeRef::XmlExpr(protobuf::XmlExpr {
                xpr,
                op: _,
                name: _,
                named_args,
                arg_names,
                args,
                xmloption: _,
                indent: _,
                r#type: _,
                typmod: _,
                location: _,
            }) => {
                self.one(xpr);
                self.many(named_args);
                self.many(arg_names);
                self.many(args);
            }
            NodeRef::XmlSerialize(protobuf::XmlSerialize {
                xmloption: _,
                expr,
                type_name,
                indent: _,
                location: _,
            }) => {
                self.one(expr);
                self.push(type_name.as_ref(), NodeRef::TypeName);
            }
            NodeRef::RangeTableFunc(protobuf::RangeTableFunc {
                lateral: _,
                docexpr,
                rowexpr,
                namespaces,
                columns,
                alias: _,
                location: _,
            }) => {
                self.one(docexpr);
                self.one(rowexpr);
                self.many(namespaces);
                self.many(columns);
            }
            NodeRef::RangeTableFuncCol(protobuf::RangeTableFuncCol {
                colname: _,
                type_name,
                for_ordinality: _,
                is_not_null: _,
                colexpr,
                coldefexpr,
                location: _,
            }) => {
                self.push(type_name.as_ref(), NodeRef::TypeName);
                self.one(colexpr);
                self.one(coldefexpr);
            }
            _ => return self.visit_json(node),
        }
        Ok(())
    }
}
