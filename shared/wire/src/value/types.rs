//! The one table of built-in types: their numbers, names, arrays and how their values are read.
//!
//! The numbers are those of `pg_type.dat`; PostgreSQL never changes them.

use super::geometry::Shape;

/// How the values of a scalar type are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Json,
    Jsonb,
    Uuid,
    Date,
    Time,
    TimeTz,
    Timestamp,
    TimestampTz,
    Interval,
    Inet,
    MacAddr,
    Bit,
    /// An unsigned number of 4 bytes that PostgreSQL shows as a string.
    Oid,
    /// An unsigned number of 8 bytes that PostgreSQL shows as a string.
    Xid8,
    Lsn,
    Tid,
    /// A range over the type with this number.
    Range(u32),
    /// Ranges over the type with this number.
    Multirange(u32),
    /// An amount in hundredths of a currency that only the server knows.
    Money,
    Shape(Shape),
    Lexemes,
    JsonPath,
    Snapshot,
    /// A composite, whose fields carry their types in binary format.
    Record,
}

/// What is known of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Scalar(Kind),
    /// An array in braces; the kind is its elements'.
    Array(Kind),
    /// `int2vector` and `oidvector`: arrays to the binary format, words between blanks as text.
    Vector(Kind),
    Unknown,
}

macro_rules! types {
    ($($oid:literal $name:literal $array:literal $array_name:literal $kind:expr;)+) => {
        pub(super) fn lookup(oid: u32) -> Type {
            match oid {
                22 => Type::Vector(Kind::Int2),
                30 => Type::Vector(Kind::Oid),
                $($oid => Type::Scalar($kind), $array => Type::Array($kind),)+
                _ => Type::Unknown,
            }
        }

        /// The name of a built-in type as `pg_type.typname` has it; `None` for types not in the table, such as those
        /// of extensions.
        #[must_use]
        pub fn type_name(oid: u32) -> Option<&'static str> {
            match oid {
                22 => Some("int2vector"),
                30 => Some("oidvector"),
                2278 => Some("void"),
                $($oid => Some($name), $array => Some($array_name),)+
                _ => None,
            }
        }
    };
}

types! {
    16 "bool" 1000 "_bool" Kind::Bool;
    17 "bytea" 1001 "_bytea" Kind::Bytea;
    18 "char" 1002 "_char" Kind::Text;
    19 "name" 1003 "_name" Kind::Text;
    20 "int8" 1016 "_int8" Kind::Int8;
    21 "int2" 1005 "_int2" Kind::Int2;
    23 "int4" 1007 "_int4" Kind::Int4;
    24 "regproc" 1008 "_regproc" Kind::Oid;
    25 "text" 1009 "_text" Kind::Text;
    26 "oid" 1028 "_oid" Kind::Oid;
    27 "tid" 1010 "_tid" Kind::Tid;
    28 "xid" 1011 "_xid" Kind::Oid;
    29 "cid" 1012 "_cid" Kind::Oid;
    114 "json" 199 "_json" Kind::Json;
    142 "xml" 143 "_xml" Kind::Text;
    600 "point" 1017 "_point" Kind::Shape(Shape::Point);
    601 "lseg" 1018 "_lseg" Kind::Shape(Shape::Segment);
    602 "path" 1019 "_path" Kind::Shape(Shape::Path);
    603 "box" 1020 "_box" Kind::Shape(Shape::Box);
    604 "polygon" 1027 "_polygon" Kind::Shape(Shape::Polygon);
    628 "line" 629 "_line" Kind::Shape(Shape::Line);
    650 "cidr" 651 "_cidr" Kind::Inet;
    700 "float4" 1021 "_float4" Kind::Float4;
    701 "float8" 1022 "_float8" Kind::Float8;
    705 "unknown" 0xffff_ff01 "_unknown" Kind::Text;
    718 "circle" 719 "_circle" Kind::Shape(Shape::Circle);
    774 "macaddr8" 775 "_macaddr8" Kind::MacAddr;
    790 "money" 791 "_money" Kind::Money;
    829 "macaddr" 1040 "_macaddr" Kind::MacAddr;
    869 "inet" 1041 "_inet" Kind::Inet;
    1042 "bpchar" 1014 "_bpchar" Kind::Text;
    1043 "varchar" 1015 "_varchar" Kind::Text;
    1082 "date" 1182 "_date" Kind::Date;
    1083 "time" 1183 "_time" Kind::Time;
    1114 "timestamp" 1115 "_timestamp" Kind::Timestamp;
    1184 "timestamptz" 1185 "_timestamptz" Kind::TimestampTz;
    1186 "interval" 1187 "_interval" Kind::Interval;
    1266 "timetz" 1270 "_timetz" Kind::TimeTz;
    1560 "bit" 1561 "_bit" Kind::Bit;
    1562 "varbit" 1563 "_varbit" Kind::Bit;
    1700 "numeric" 1231 "_numeric" Kind::Numeric;
    1790 "refcursor" 2201 "_refcursor" Kind::Text;
    2202 "regprocedure" 2207 "_regprocedure" Kind::Oid;
    2203 "regoper" 2208 "_regoper" Kind::Oid;
    2204 "regoperator" 2209 "_regoperator" Kind::Oid;
    2205 "regclass" 2210 "_regclass" Kind::Oid;
    2206 "regtype" 2211 "_regtype" Kind::Oid;
    2249 "record" 2287 "_record" Kind::Record;
    2275 "cstring" 1263 "_cstring" Kind::Text;
    2950 "uuid" 2951 "_uuid" Kind::Uuid;
    2970 "txid_snapshot" 2949 "_txid_snapshot" Kind::Snapshot;
    3220 "pg_lsn" 3221 "_pg_lsn" Kind::Lsn;
    3614 "tsvector" 3643 "_tsvector" Kind::Lexemes;
    3734 "regconfig" 3735 "_regconfig" Kind::Oid;
    3769 "regdictionary" 3770 "_regdictionary" Kind::Oid;
    3802 "jsonb" 3807 "_jsonb" Kind::Jsonb;
    3904 "int4range" 3905 "_int4range" Kind::Range(23);
    3906 "numrange" 3907 "_numrange" Kind::Range(1700);
    3908 "tsrange" 3909 "_tsrange" Kind::Range(1114);
    3910 "tstzrange" 3911 "_tstzrange" Kind::Range(1184);
    3912 "daterange" 3913 "_daterange" Kind::Range(1082);
    3926 "int8range" 3927 "_int8range" Kind::Range(20);
    4072 "jsonpath" 4073 "_jsonpath" Kind::JsonPath;
    4089 "regnamespace" 4090 "_regnamespace" Kind::Oid;
    4096 "regrole" 4097 "_regrole" Kind::Oid;
    4191 "regcollation" 4192 "_regcollation" Kind::Oid;
    4451 "int4multirange" 6150 "_int4multirange" Kind::Multirange(23);
    4532 "nummultirange" 6151 "_nummultirange" Kind::Multirange(1700);
    4533 "tsmultirange" 6152 "_tsmultirange" Kind::Multirange(1114);
    4534 "tstzmultirange" 6153 "_tstzmultirange" Kind::Multirange(1184);
    4535 "datemultirange" 6155 "_datemultirange" Kind::Multirange(1082);
    4536 "int8multirange" 6157 "_int8multirange" Kind::Multirange(20);
    5038 "pg_snapshot" 5039 "_pg_snapshot" Kind::Snapshot;
    5069 "xid8" 271 "_xid8" Kind::Xid8;
}
