//! A paired session in an office. What is done at it stands with the tests that do it.

use kurir::config::Config;
use kurir::session::Session;

use crate::support::Office;

pub(crate) struct Desk {
    pub(crate) office: Office,
    pub(crate) session: Session,
}

impl Desk {
    pub(crate) async fn open() -> Desk {
        Desk::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut Config)) -> Desk {
        let (office, session) = Office::paired_with(change).await;
        Desk { office, session }
    }
}
