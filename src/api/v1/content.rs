//! What a request to send carries: one of a text, a file, a place, a contact or a poll, and what it refers to.

use serde_json::{Map, Value};

use super::Failure;
use super::referred::Names;
use crate::api::params::{ParamError, Params};
use crate::api::send::{self, MAX_CAPTION, MAX_TEXT, SendError, Target, check_text};
use crate::api::{Shared, phone};
use crate::media::{self, MAX_MEDIA, MediaType};
use crate::outbox::{self, Body, Content, Context};
use crate::session::Session;

/// People that one text may mention by name.
const MAX_MENTIONS: usize = 256;
/// Longest name of a place or a contact, and longest address, in characters.
const MAX_NAME: usize = 255;
/// Longest contact card, in characters.
const MAX_CARD: usize = 16 * 1024;

/// A reply's message is in the reply's own chat.
const REPLY: Names = Names { chat: "to", sender: "reply_to_sender", from_me: "reply_to_from_me" };

/// Kinds of message, as `type` names them.
const TYPES: &[(&str, Kind)] = &[
    ("text", Kind::Text),
    ("image", Kind::Media(Some(MediaType::Image))),
    ("video", Kind::Media(Some(MediaType::Video))),
    ("audio", Kind::Media(Some(MediaType::Audio))),
    ("voice", Kind::Media(Some(MediaType::Voice))),
    ("document", Kind::Media(Some(MediaType::Document))),
    ("sticker", Kind::Media(Some(MediaType::Sticker))),
    ("location", Kind::Location),
    ("contact", Kind::Contact),
    ("poll", Kind::Poll),
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Media(Option<MediaType>),
    Location,
    Contact,
    Poll,
}

fn wrong(field: &'static str, reason: impl Into<String>) -> Failure {
    ParamError::Value { field, reason: reason.into() }.into()
}

/// Which kind the request means: by `type`, else by the fields that are there.
fn kind(params: &Params, has_file: bool) -> Result<Kind, Failure> {
    let mut there = Vec::new();
    if has_file || params.has("media") {
        there.push(Kind::Media(None));
    }
    for (field, kind) in [("location", Kind::Location), ("contact", Kind::Contact), ("poll", Kind::Poll)] {
        if params.has(field) {
            there.push(kind);
        }
    }
    if there.len() > 1 {
        return Err(Failure::bad("one message carries one of media, location, contact and poll"));
    }
    let found = there.first().copied().unwrap_or(Kind::Text);
    let Some(word) = params.text("type")? else { return Ok(found) };
    let asked = TYPES.iter().find(|(name, _)| *name == word.trim()).map(|(_, kind)| *kind);
    let Some(asked) = asked else {
        let all: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
        return Err(wrong("type", format!("must be one of {}", all.join(", "))));
    };
    match (asked, found) {
        (Kind::Media(_), Kind::Media(_)) => Ok(asked),
        (asked, found) if asked == found => Ok(asked),
        (Kind::Media(_), _) => Err(ParamError::Missing("media").into()),
        (Kind::Location, _) => Err(ParamError::Missing("location").into()),
        (Kind::Contact, _) => Err(ParamError::Missing("contact").into()),
        (Kind::Poll, _) => Err(ParamError::Missing("poll").into()),
        (Kind::Text, _) => Err(wrong("type", "is text, but the request carries something else")),
    }
}

/// An object among the parameters; a form's text may be one in JSON.
fn object(params: &Params, field: &'static str) -> Result<Params, Failure> {
    let wrong = || Failure::from(ParamError::Type { field, wanted: "an object" });
    let fields: Map<String, Value> = match params.value(field) {
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::String(text)) => serde_json::from_str(text).map_err(|_| wrong())?,
        Some(_) => return Err(wrong()),
        None => return Err(ParamError::Missing(field).into()),
    };
    Ok(Params::from_object(fields))
}

/// An error of a nested field, with the field around it.
fn inside(field: &str, error: impl Into<Failure>) -> Failure {
    let mut failure: Failure = error.into();
    failure.message = format!("{field}: {}", failure.message);
    failure
}

impl Shared {
    /// What is sent.
    pub(super) async fn content(&self, params: &mut Params) -> Result<Body, Failure> {
        let file = match params.take_file("media") {
            Some(file) => Some(file),
            None => params.take_file("file"),
        };
        let kind = kind(params, file.is_some())?;
        let text = params.given("text")?.filter(|text| !text.is_empty());
        if !matches!(kind, Kind::Text | Kind::Media(_)) && text.is_some() {
            return Err(wrong("text", "goes with a text or a file only"));
        }
        Ok(match kind {
            Kind::Text => {
                let text = text.ok_or(ParamError::Missing("text"))?;
                check_text("text", &text, MAX_TEXT)?;
                Body::Text(text)
            }
            Kind::Media(asked) => {
                let mut file = match file {
                    Some(file) => file,
                    None => {
                        let media = object(params, "media")?;
                        let name = media.text("filename").map_err(|e| inside("media", e))?;
                        let url = media.text("url").map_err(|e| inside("media", e))?;
                        let data = media.text("data").map_err(|e| inside("media", e))?;
                        let mut file = match (url, data) {
                            (Some(url), None) => {
                                media::fetch(&url, &self.fetch, &self.spool).await.map_err(SendError::from)?
                            }
                            (None, Some(data)) => {
                                let kept = self.spool.from_base64(data, name.clone(), MAX_MEDIA).await;
                                kept.map_err(SendError::from)?
                            }
                            _ => return Err(wrong("media", "needs either url or data")),
                        };
                        if let Some(name) = name {
                            file.rename(&name);
                        }
                        file
                    }
                };
                if let Some(name) = params.text("filename")? {
                    file.rename(&name);
                }
                let media = media::kind_of(asked, false, file.mime).map_err(SendError::from)?;
                if let Some(caption) = &text {
                    if !media.has_caption() {
                        return Err(wrong("text", format!("cannot go with a file of kind {media}")));
                    }
                    check_text("text", caption, MAX_CAPTION)?;
                }
                Body::Media { file, media, caption: text }
            }
            Kind::Location => {
                Body::Other(place(&object(params, "location")?).map_err(|e| inside("location", e))?)
            }
            Kind::Contact => {
                let contact = contact(&object(params, "contact")?, &self.country_code);
                Body::Other(contact.map_err(|e| inside("contact", e))?)
            }
            Kind::Poll => Body::Other(poll(&object(params, "poll")?).map_err(|e| inside("poll", e))?),
        })
    }

    /// What the message refers to; the text is changed where it names somebody in another way than WhatsApp does.
    pub(super) async fn context(
        &self,
        session: &Session,
        to: &Target,
        params: &Params,
        text: Option<&mut String>,
    ) -> Result<Context, Failure> {
        let mut context = Context::default();
        if let Some(id) = params.text("reply_to")? {
            let referred = self.referred(session, "reply_to", &id, params, &REPLY, false).await?;
            if !referred.is_in(to.jid()) {
                return Err(wrong("reply_to", "is a message of another chat"));
            }
            context.quoted = Some(referred.about);
        }
        let mut names = params.list("mentions")?;
        context.mention_all = params.has("mention_all") && params.flag("mention_all")?;
        names.retain(|name| {
            let all = matches!(name.trim(), "all" | "@all");
            context.mention_all |= all;
            !all
        });
        if context.mention_all && !to.jid().ends_with("@g.us") {
            return Err(wrong("mentions", "can name all in a group only"));
        }
        if names.len() > MAX_MENTIONS {
            return Err(wrong("mentions", format!("has more than {MAX_MENTIONS} people; use \"all\"")));
        }
        let Some(text) = text else {
            if !names.is_empty() || context.mention_all {
                return Err(wrong("mentions", "needs a text in which people are mentioned"));
            }
            return Ok(context);
        };
        for name in &names {
            let person = self.target(session, "mentions", name, true).await?;
            if person.jid().ends_with("@g.us") {
                return Err(wrong("mentions", "has a group; only people can be mentioned"));
            }
            name_as_whatsapp_does(text, name, person.jid());
            if !context.mentions.iter().any(|jid| jid == person.jid()) {
                context.mentions.push(person.jid().to_owned());
            }
        }
        context.preview = params.has("preview") && params.flag("preview")?;
        context.no_preview = params.has("preview") && !context.preview;
        Ok(context)
    }
}

/// WhatsApp finds a mention in a text as `@` and the JID's own digits; people write the number as they know it.
fn name_as_whatsapp_does(text: &mut String, written: &str, jid: &str) {
    let digits = jid.split('@').next().unwrap_or_default();
    let written = written.trim();
    let written = written.split('@').find(|part| !part.is_empty()).unwrap_or(written);
    if written.is_empty() || written == digits {
        return;
    }
    let (before, after) = (format!("@{written}"), format!("@{digits}"));
    let mut changed = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((head, tail)) = rest.split_once(before.as_str()) {
        changed.push_str(head);
        // A longer number that begins the same is somebody else's.
        let longer = tail.starts_with(|c: char| c.is_ascii_digit());
        changed.push_str(if longer { &before } else { &after });
        rest = tail;
    }
    changed.push_str(rest);
    *text = changed;
}

fn short(params: &Params, field: &'static str) -> Result<Option<String>, Failure> {
    let text = params.text(field)?;
    if let Some(text) = &text {
        check_text(field, text, MAX_NAME)?;
    }
    Ok(text)
}

fn place(params: &Params) -> Result<Content, Failure> {
    Ok(Content::Location {
        latitude: params.decimal("latitude", 90.0)?,
        longitude: params.decimal("longitude", 180.0)?,
        name: short(params, "name")?,
        address: short(params, "address")?,
    })
}

fn contact(params: &Params, country_code: &str) -> Result<Content, Failure> {
    let name = short(params, "name")?.ok_or(ParamError::Missing("name"))?;
    if let Some(vcard) = params.text("vcard")? {
        check_text("vcard", &vcard, MAX_CARD)?;
        let lines: Vec<&str> = vcard.trim().lines().map(str::trim).collect();
        if lines.first() != Some(&"BEGIN:VCARD") || lines.last() != Some(&"END:VCARD") {
            return Err(wrong("vcard", "must begin with BEGIN:VCARD and end with END:VCARD"));
        }
        return Ok(Content::Contact { name, vcard });
    }
    let phone = phone::number(&params.required("phone")?, country_code)
        .map_err(|e| ParamError::Value { field: "phone", reason: e.to_string() })?;
    let vcard = outbox::vcard(&name, &phone);
    Ok(Content::Contact { name, vcard })
}

fn poll(params: &Params) -> Result<Content, Failure> {
    let name = params.required("name")?;
    let multiple = params.has("multiple") && params.flag("multiple")?;
    Ok(send::poll(name, params.list("options")?, !multiple, ("name", "options"))?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_in_a_text_becomes_the_one_that_whatsapp_looks_for() {
        for (written, jid, text, expected) in [
            ("0812", "62812@s.whatsapp.net", "@0812 dan @08123", "@62812 dan @08123"),
            ("62812", "62812@s.whatsapp.net", "halo @62812", "halo @62812"),
            ("+62 812", "62812@s.whatsapp.net", "halo @+62 812!", "halo @62812!"),
            ("77@lid", "77@lid", "halo @77", "halo @77"),
            ("5511912345678", "551112345678@s.whatsapp.net", "@5511912345678", "@551112345678"),
        ] {
            let mut changed = text.to_owned();
            name_as_whatsapp_does(&mut changed, written, jid);
            assert_eq!(changed, expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn any_text_and_name(text in ".{0,40}", written in ".{0,6}", jid in "[0-9]{0,6}@lid") {
            let mut changed = text.clone();
            name_as_whatsapp_does(&mut changed, &written, &jid);
        }
    }
}
