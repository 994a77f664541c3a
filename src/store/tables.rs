//! Every table of the store: its name, its key, its value. The file's schema is this page plus [`SCHEMA_VERSION`].
//!
//! Account tables hold the rows of all accounts. Their keys begin with the account's id as four big-endian bytes, so
//! that one account's rows lie together and are removed by one range. Strings inside a key end with a zero byte unless
//! they are its last part; JIDs and message ids contain none (`account::key` checks it).
//!
//! Modules outside `store` define their tables beside the code that uses them and hand the names to
//! [`StoreOptions::tables`](super::StoreOptions::tables), so that they exist before the first read.

use redb::TableDefinition;

/// The version this build reads and writes. Raise it with every change to a key or value here or in a module that
/// brings its own tables, and add the step to `schema::MIGRATIONS`.
pub const SCHEMA_VERSION: u32 = 3;

/// A table of byte strings: the shape of all tables but [`META`].
pub type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Facts about the file itself. `schema`: the schema version, u32 LE. `next_account`: the next account id, u32 LE.
pub const META: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("meta");

/// Accounts that exist. Key: account. Value: Unix seconds of creation, i64 LE.
pub const ACCOUNTS: Bytes = Bytes::new("accounts");
/// The device: keys, JID, app version. Key: account. Value: format byte 1, then whatsapp-rust's `Device` as JSON.
pub const DEVICES: Bytes = Bytes::new("wa_device");

/// Remote identity keys. Key: account, Signal address. Value: 32 bytes.
pub const IDENTITIES: Bytes = Bytes::new("wa_identity");
/// Signal sessions. Key: account, Signal address. Value: the record as libsignal serialises it.
pub const SESSIONS: Bytes = Bytes::new("wa_session");
/// One-time prekeys. Key: account, id u32 BE. Value: 1 if uploaded else 0, then the record.
pub const PREKEYS: Bytes = Bytes::new("wa_prekey");
/// Signed prekeys. Key: account, id u32 BE. Value: the record.
pub const SIGNED_PREKEYS: Bytes = Bytes::new("wa_signed_prekey");
/// Group sender keys. Key: account, sender key name. Value: the record.
pub const SENDER_KEYS: Bytes = Bytes::new("wa_sender_key");

/// App state keys. Key: account, key id. Value: format byte 1, then `AppStateSyncKey` as JSON.
pub const SYNC_KEYS: Bytes = Bytes::new("wa_sync_key");
/// The app state key stored last. Key: account. Value: its key id.
pub const LATEST_SYNC_KEY: Bytes = Bytes::new("wa_latest_sync_key");
/// App state versions. Key: account, collection. Value: format byte 1, then `HashState` as JSON.
pub const VERSIONS: Bytes = Bytes::new("wa_app_state");
/// App state mutation MACs. Key: account, collection, 0, index MAC. Value: the value MAC.
pub const MUTATION_MACS: Bytes = Bytes::new("wa_mutation_mac");

/// Which devices have our group sender key. Key: account, group JID, 0, device JID. Value: one byte, 1 if it has.
pub const SENDER_KEY_DEVICES: Bytes = Bytes::new("wa_sender_key_device");
/// LID to phone number. Key: account, LID user. Value: format byte 1, then `LidPnMappingEntry` as JSON.
pub const LID_MAPPINGS: Bytes = Bytes::new("wa_lid");
/// Phone number to its latest LID. Key: account, phone number. Value: LID user.
pub const PN_MAPPINGS: Bytes = Bytes::new("wa_pn");
/// Base keys for retry collisions. Key: account, Signal address, 0, message id. Value: the base key.
pub const BASE_KEYS: Bytes = Bytes::new("wa_base_key");
/// Device lists. Key: account, user. Value: format byte 1, then `DeviceListRecord` as JSON.
pub const DEVICE_LISTS: Bytes = Bytes::new("wa_device_list");
/// Group metadata as the client serialises it. Key: account, group JID. Value: the blob.
pub const GROUPS: Bytes = Bytes::new("wa_group");
/// Trusted contact tokens. Key: account, JID. Value: token timestamp i64 LE, 1 or 0 for whether a sender timestamp is
/// there, that timestamp i64 LE, then the token.
pub const TC_TOKENS: Bytes = Bytes::new("wa_tc_token");
/// Sent messages kept for retry receipts, in the order they were sent, so that new ones fill pages and old ones leave
/// from the front; `account::sent` finds them by chat and id. Key: account, number u64 BE. Value: Unix seconds i64 LE,
/// chat's length u16 LE, chat, id's length u16 LE, id, payload.
pub const SENT_MESSAGES: Bytes = Bytes::new("wa_sent");
/// Decrypted messages not yet in our journal. Key: account, chat, 0, sender, 0, message id. Value: Unix seconds i64
/// LE, then the message.
pub const PENDING_INBOUND: Bytes = Bytes::new("wa_pending_inbound");
/// Message secrets. Key: account, chat, 0, sender, 0, message id. Value: deadline i64 LE in Unix seconds (0 = none),
/// the message's time i64 LE (0 = unknown), 32 bytes of secret.
pub const MSG_SECRETS: Bytes = Bytes::new("wa_msg_secret");
/// When message secrets go. Key: account, deadline i64 BE, then the row's key in [`MSG_SECRETS`] without its account.
/// Value: nothing. Rows without a deadline are not in it.
pub const MSG_SECRETS_DUE: Bytes = Bytes::new("wa_msg_secret_due");

/// The tables whose keys begin with an account.
pub const ACCOUNT_TABLES: &[Bytes] = &[
    ACCOUNTS,
    DEVICES,
    IDENTITIES,
    SESSIONS,
    PREKEYS,
    SIGNED_PREKEYS,
    SENDER_KEYS,
    SYNC_KEYS,
    LATEST_SYNC_KEY,
    VERSIONS,
    MUTATION_MACS,
    SENDER_KEY_DEVICES,
    LID_MAPPINGS,
    PN_MAPPINGS,
    BASE_KEYS,
    DEVICE_LISTS,
    GROUPS,
    TC_TOKENS,
    SENT_MESSAGES,
    PENDING_INBOUND,
    MSG_SECRETS,
    MSG_SECRETS_DUE,
];

/// A table another module wants to exist: its name, and how to create it with its own types.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    name: &'static str,
    create: fn(&redb::WriteTransaction, &'static str) -> Result<(), redb::TableError>,
}

impl Table {
    /// A table with keys of type `K` and byte-string values, for example
    /// `Table::of::<u64>("outbox")`. Use the same name in the module's `TableDefinition`.
    pub const fn of<K: redb::Key + 'static>(name: &'static str) -> Self {
        Self {
            name,
            create: |txn, name| txn.open_table(TableDefinition::<K, &'static [u8]>::new(name)).map(drop),
        }
    }

    /// The table's name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn create(&self, txn: &redb::WriteTransaction) -> Result<(), redb::TableError> {
        (self.create)(txn, self.name)
    }
}
