//! Reading and building binary stanzas: the few accessors that every handler needs.

use std::borrow::Cow;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, NodeContent, NodeValue};

/// The server's own address.
pub(crate) const SERVER: &str = "s.whatsapp.net";

pub(crate) fn attr<'a>(node: &'a Node, key: &str) -> Option<Cow<'a, str>> {
    node.attrs.get(key).map(NodeValue::as_str)
}

pub(crate) fn attr_string(node: &Node, key: &str) -> String {
    attr(node, key).map(Cow::into_owned).unwrap_or_default()
}

pub(crate) fn attr_u64(node: &Node, key: &str) -> Option<u64> {
    attr(node, key).and_then(|value| value.parse().ok())
}

/// A JID attribute. Device suffixes that arrive inside the user part ("123:4") are split off.
pub(crate) fn jid_attr(node: &Node, key: &str) -> Option<Jid> {
    node.attrs.get(key).and_then(NodeValue::to_jid).map(normal)
}

fn normal(mut jid: Jid) -> Jid {
    let split = jid.user.split_once(':').and_then(|(user, device)| Some((user.into(), device.parse().ok()?)));
    if let Some((user, device)) = split {
        jid.user = user;
        jid.device = device;
    }
    jid
}

/// The node's content as bytes, whether the encoder chose the binary or the string form.
pub(crate) fn bytes(node: &Node) -> &[u8] {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => bytes,
        Some(NodeContent::String(text)) => text.as_bytes(),
        _ => &[],
    }
}

pub(crate) fn child<'a>(node: &'a Node, tag: &str) -> Option<&'a Node> {
    node.get_optional_child(tag)
}

pub(crate) fn child_bytes<'a>(node: &'a Node, tag: &str) -> &'a [u8] {
    child(node, tag).map(bytes).unwrap_or_default()
}

pub(crate) fn children(node: &Node) -> &[Node] {
    node.children().unwrap_or_default()
}

/// A big-endian number of up to four bytes, as key ids and registration ids are written.
pub(crate) fn be_uint(bytes: &[u8]) -> Option<u32> {
    if bytes.is_empty() || bytes.len() > 4 {
        return None;
    }
    Some(bytes.iter().fold(0, |value, byte| (value << 8) | u32::from(*byte)))
}

pub(crate) fn array32(bytes: &[u8]) -> Option<[u8; 32]> {
    bytes.try_into().ok()
}

/// A node without attributes or content.
pub(crate) fn empty(tag: &'static str) -> Node {
    NodeBuilder::new(tag).build()
}

/// `<iq type="result">` in answer to `request`.
pub(crate) fn iq_result(request: &Node, content: impl IntoIterator<Item = Node>) -> Node {
    let mut reply = NodeBuilder::new("iq")
        .attr("from", attr(request, "to").as_deref().filter(|to| !to.is_empty()).unwrap_or(SERVER))
        .attr("type", "result")
        .attr("id", attr_string(request, "id"));
    let content: Vec<Node> = content.into_iter().collect();
    if !content.is_empty() {
        reply = reply.children(content);
    }
    reply.build()
}

/// `<iq type="error">` in answer to `request`.
pub(crate) fn iq_error(request: &Node, code: u16, text: &str) -> Node {
    NodeBuilder::new("iq")
        .attr("from", attr(request, "to").as_deref().filter(|to| !to.is_empty()).unwrap_or(SERVER))
        .attr("type", "error")
        .attr("id", attr_string(request, "id"))
        .children([NodeBuilder::new("error").attr("code", code).attr("text", text).build()])
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jids_with_the_device_inside_the_user_part_are_split() {
        let node = NodeBuilder::new("user").attr("jid", "4912:3@s.whatsapp.net").build();
        let jid = jid_attr(&node, "jid").expect("parses");
        assert_eq!((jid.user.as_str(), jid.device), ("4912", 3));
    }

    #[test]
    fn numbers_are_big_endian_and_at_most_four_bytes() {
        assert_eq!(be_uint(&[1, 0, 2]), Some(0x01_0002));
        assert_eq!(be_uint(&[]), None);
        assert_eq!(be_uint(&[0; 5]), None);
    }
}
