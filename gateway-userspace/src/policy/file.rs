//! A policy file as written: shapes and positions, nothing checked beyond the keys.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

/// A file of the policy folder.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PolicyFile {
    pub version: Spanned<String>,
    pub grants: Spanned<Vec<Spanned<GrantFile>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantFile {
    pub name: Spanned<String>,
    #[serde(default)]
    pub why: Option<Spanned<String>>,
    pub who: WhoFile,
    pub database: Spanned<String>,
    #[serde(default)]
    pub role: Option<RoleFile>,
    #[serde(default)]
    pub limits: LimitsFile,
    #[serde(default)]
    pub allow: Vec<Spanned<RuleFile>>,
    #[serde(default)]
    pub approve: Vec<Spanned<ApproveFile>>,
    #[serde(default)]
    pub deny: Vec<Spanned<RuleFile>>,
    #[serde(default)]
    pub mask: Vec<Spanned<MaskFile>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoFile {
    pub issuer: Spanned<String>,
    #[serde(default)]
    pub assurance: Option<Spanned<String>>,
    #[serde(default)]
    pub claims: Claims,
    #[serde(default)]
    pub groups: Vec<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RoleFile {
    pub login: Spanned<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    #[serde(default)]
    pub hold: Option<Spanned<String>>,
}

/// A rule of `allow` or `deny`: one verb and its targets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    #[serde(default)]
    pub select: Option<Spanned<Texts>>,
    #[serde(default)]
    pub insert: Option<Spanned<Texts>>,
    #[serde(default)]
    pub update: Option<Spanned<Texts>>,
    #[serde(default)]
    pub delete: Option<Spanned<Texts>>,
    #[serde(default)]
    pub truncate: Option<Spanned<Texts>>,
    #[serde(default)]
    pub call: Option<Spanned<Texts>>,
    #[serde(default)]
    pub ddl: Option<Spanned<Texts>>,
    #[serde(default)]
    pub all: Option<Spanned<Texts>>,
}

/// A rule of `approve`: as a [`RuleFile`], and who decides. Written out because flattening loses
/// the positions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApproveFile {
    #[serde(default)]
    pub select: Option<Spanned<Texts>>,
    #[serde(default)]
    pub insert: Option<Spanned<Texts>>,
    #[serde(default)]
    pub update: Option<Spanned<Texts>>,
    #[serde(default)]
    pub delete: Option<Spanned<Texts>>,
    #[serde(default)]
    pub truncate: Option<Spanned<Texts>>,
    #[serde(default)]
    pub call: Option<Spanned<Texts>>,
    #[serde(default)]
    pub ddl: Option<Spanned<Texts>>,
    #[serde(default)]
    pub all: Option<Spanned<Texts>>,
    #[serde(default)]
    pub by: Option<ByFile>,
}

impl ApproveFile {
    pub(super) fn split(self) -> (RuleFile, Option<ByFile>) {
        let Self {
            select,
            insert,
            update,
            delete,
            truncate,
            call,
            ddl,
            all,
            by,
        } = self;
        (
            RuleFile {
                select,
                insert,
                update,
                delete,
                truncate,
                call,
                ddl,
                all,
            },
            by,
        )
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByFile {
    #[serde(default)]
    pub group: Option<Spanned<String>>,
    #[serde(default)]
    pub count: Option<Spanned<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskFile {
    pub column: Spanned<Texts>,
    /// `with: null` reaches us as YAML's null, not as a text.
    pub with: Spanned<Option<String>>,
    #[serde(default, rename = "where")]
    pub filter: Option<Spanned<String>>,
}

/// One text or a list of texts, each with its place.
#[derive(Debug)]
pub(super) struct Texts(pub Vec<Text>);

/// A text and, inside a list, where it stands.
#[derive(Debug)]
pub(super) struct Text {
    pub value: String,
    pub at: Option<Location>,
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: Error>(self, value: &str) -> Result<Texts, E> {
                Ok(Texts(vec![Text {
                    value: value.to_owned(),
                    at: None,
                }]))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Texts, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Texts, E> {
                self.visit_str(&value.to_string())
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Texts, E> {
                self.visit_str(if value { "true" } else { "false" })
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Texts, S::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element::<Spanned<String>>()? {
                    texts.push(Text {
                        at: Some(text.referenced),
                        value: text.value,
                    });
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_any(TextsVisitor)
    }
}

/// The `claims` mapping, in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Claims(pub Vec<(String, Spanned<Texts>)>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ClaimsVisitor;
        impl<'de> Visitor<'de> for ClaimsVisitor {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from claim names to patterns")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Claims, M::Error> {
                let mut claims = Vec::new();
                while let Some(entry) = map.next_entry::<String, Spanned<Texts>>()? {
                    claims.push(entry);
                }
                Ok(Claims(claims))
            }
        }
        deserializer.deserialize_map(ClaimsVisitor)
    }
}
