use std::time::Duration;

use ::base64::Engine;
use ::base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use tempfile::TempDir;

use super::*;

const MAX: u64 = 1024 * 1024;

fn spool(limit: u64) -> (TempDir, Spool) {
    let data = TempDir::new().unwrap();
    let spool = Spool::open_with(data.path(), limit).unwrap();
    (data, spool)
}

fn count(data: &TempDir, folder: &str) -> usize {
    fs::read_dir(data.path().join(folder)).unwrap().count()
}

fn chunks(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, io::Error>> + Unpin + use<> {
    let chunks: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![b'x'; *size]))).collect();
    stream::iter(chunks)
}

#[tokio::test]
async fn base64_in_its_many_forms() {
    let (data, spool) = spool(MAX);
    let picture = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x02\0\0\0\x01\0\x08\xff\xfe\xfb".to_vec();
    let standard = BASE64_STANDARD.encode(&picture);
    let wrapped = standard.as_bytes().chunks(7).map(|c| std::str::from_utf8(c).unwrap()).collect::<Vec<_>>();
    for text in [
        standard.clone(),
        standard.trim_end_matches('=').to_owned(),
        standard.replace('+', "-").replace('/', "_"),
        wrapped.join("\r\n"),
        format!(" data:image/jpeg;base64,{standard}\n"),
    ] {
        let fetched = spool.from_base64(text, Some("../p".into()), MAX).await.unwrap();
        assert_eq!(fs::read(&fetched.file).unwrap(), picture);
        assert_eq!((fetched.mime, fetched.filename.as_str()), ("image/png", "p.png"));
        assert_eq!(fetched.dimensions, Some((512, 256)));
        assert_eq!(spool.used(), picture.len() as u64);
    }
    assert_eq!((spool.used(), count(&data, "spool")), (0, 0));
    for wrong in ["!!!", "data:image/png,abc", "data:image/png;base64", "QUJD*", "QQQQQ"] {
        let e = spool.from_base64(wrong.into(), None, MAX).await.unwrap_err();
        assert!(matches!(e, SpoolError::BadBase64(_)) && e.is_client(), "{wrong}: {e}");
    }
    let e = spool.from_base64("  ".into(), None, MAX).await.unwrap_err();
    assert!(matches!(e, SpoolError::Empty));
    assert_eq!((spool.used(), count(&data, "spool")), (0, 0));
}

#[tokio::test]
async fn a_stream_is_bounded_by_the_message_and_by_the_spool() {
    let (data, spool) = spool(1000 * 1000);
    let fetched = spool.from_stream(chunks(&[1, 0, 200_000, 299_999]), None, MAX).await.unwrap();
    assert_eq!((fetched.size, fetched.filename.as_str()), (500_000, "file.txt"));
    assert_eq!(fs::metadata(&fetched.file).unwrap().len(), 500_000);

    let e = spool.from_stream(chunks(&[400_000]), None, 399_999).await.unwrap_err();
    assert!(matches!(e, SpoolError::TooLarge { .. }) && e.is_client(), "{e}");
    let e = spool.from_stream(chunks(&[200_000; 3]), None, MAX).await.unwrap_err();
    assert!(matches!(e, SpoolError::Full { .. }) && !e.is_client(), "{e}");
    let e = spool.from_stream(chunks(&[]), None, MAX).await.unwrap_err();
    assert!(matches!(e, SpoolError::Empty));
    let cut = chunks(&[300]).chain(stream::iter([Err(io::Error::other("the client left"))]));
    let e = spool.from_stream(cut, None, MAX).await.unwrap_err();
    assert!(e.to_string().contains("the client left"), "{e}");

    // Nothing of the failures stays, in the count or on the disk.
    assert_eq!((spool.used(), count(&data, "spool")), (500_000, 1));
    drop(fetched);
    assert_eq!((spool.used(), count(&data, "spool")), (0, 0));
    spool.from_stream(chunks(&[1000 * 1000]), None, MAX).await.unwrap();
}

#[tokio::test]
async fn kept_media_outlives_the_process_and_still_counts() {
    let (data, spool) = spool(MAX);
    let fetched = spool.from_stream(chunks(&[700]), Some("a.csv".into()), MAX).await.unwrap();
    let stored = fetched.persist("msg-1_A").await.unwrap();
    assert_eq!((stored.mime, stored.filename.as_str(), stored.size), ("text/csv", "a.csv", 700));
    assert_eq!(stored.path, spool.path("msg-1_A").unwrap());
    let other = spool.from_stream(chunks(&[50]), None, MAX).await.unwrap();
    other.persist("orphan").await.unwrap();
    assert_eq!((spool.used(), count(&data, "media"), count(&data, "spool")), (750, 2, 0));

    // As a crash leaves it: a file half received.
    fs::write(data.path().join("spool/in-half"), "half").unwrap();
    drop(spool);
    let spool = Spool::open_with(data.path(), MAX).unwrap();
    assert_eq!((spool.used(), count(&data, "spool")), (750, 0));
    assert_eq!(spool.sweep(|id| id == "msg-1_A").unwrap(), 1);
    assert_eq!(spool.used(), 700);
    assert_eq!(fs::read(&stored.path).unwrap().len(), 700);

    spool.remove("msg-1_A").await.unwrap();
    spool.remove("msg-1_A").await.unwrap();
    assert_eq!((spool.used(), count(&data, "media")), (0, 0));
}

#[tokio::test]
async fn keeping_twice_under_one_id_counts_once() {
    let (_data, spool) = spool(MAX);
    for size in [300, 500] {
        spool.from_stream(chunks(&[size]), None, MAX).await.unwrap().persist("same").await.unwrap();
    }
    assert_eq!(spool.used(), 500);
    spool.remove("same").await.unwrap();
    assert_eq!(spool.used(), 0);
}

#[tokio::test]
async fn ids_cannot_lead_out_of_the_folder() {
    let (_data, spool) = spool(MAX);
    for id in ["", ".", "..", "../store.redb", "a/b", "a\\b", "a.b", "a\0", &"x".repeat(65)] {
        assert!(matches!(spool.path(id), Err(SpoolError::BadId(_))), "{id}");
        assert!(spool.remove(id).await.is_err());
    }
}

#[tokio::test]
async fn a_disk_that_refuses_says_which_file() {
    let (data, spool) = spool(MAX);
    fs::remove_dir_all(data.path().join("spool")).unwrap();
    let e = spool.from_stream(chunks(&[1]), None, MAX).await.unwrap_err();
    assert!(matches!(e, SpoolError::Disk { .. }) && e.to_string().contains("spool"), "{e}");
}

#[tokio::test]
async fn what_is_to_spare_makes_room_the_oldest_first_unless_it_is_reclaimed() {
    let (data, spool) = spool(10);
    for id in ["a", "b", "c"] {
        let file = spool.from_stream(chunks(&[3]), None, 9).await.unwrap();
        file.persist(id).await.unwrap();
        spool.spare(id).await;
    }
    assert_eq!(spool.used(), 9);
    assert!(spool.reclaim("a").await);
    let new = spool.from_stream(chunks(&[3]), None, 9).await.unwrap();
    assert!(spool.has("a") && !spool.has("b") && spool.has("c"));
    // The time of failing is in the file, so that the next process goes on.
    let again = Spool::open_with(data.path(), 10).unwrap();
    again.adopt_spare(["c".to_owned(), "gone".to_owned()].iter());
    again.drop_spare(Duration::from_secs(3600)).await;
    assert!(again.has("c"));
    again.drop_spare(Duration::ZERO).await;
    assert!(again.has("a") && !again.has("c"));
    assert!(!again.reclaim("c").await, "it is gone");
    drop(new);
}
