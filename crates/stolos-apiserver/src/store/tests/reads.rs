use std::num::NonZeroUsize;

use super::*;

async fn filled() -> ClusterStore {
    let store = cluster();
    for name in ["b/1", "a/2", "a/1", "c/1"] {
        store.commit(create(name)).await.unwrap();
    }
    store
}

fn list(store: &ClusterStore, options: &ListOptions<'_>) -> Page {
    store.list(&pods(), options).unwrap()
}

fn limit(n: usize) -> Option<NonZeroUsize> {
    NonZeroUsize::new(n)
}

#[tokio::test]
async fn lists_are_ordered_by_namespace_then_name() {
    let store = filled().await;
    let page = list(&store, &ListOptions::default());
    assert_eq!(names(&page), ["a/1", "a/2", "b/1", "c/1"]);
    assert_eq!((page.revision, page.next, page.remaining), (START + 4, None, Some(0)));
    let in_a = ListOptions { namespace: Some("a".into()), ..ListOptions::default() };
    assert_eq!(names(&list(&store, &in_a)), ["a/1", "a/2"]);
    let in_none = ListOptions { namespace: Some("aa".into()), ..ListOptions::default() };
    assert_eq!(names(&list(&store, &in_none)), Vec::<String>::new());
}

#[tokio::test]
async fn pages_continue_after_the_last_key_and_count_the_rest() {
    let store = filled().await;
    let first = list(&store, &ListOptions { limit: limit(3), ..ListOptions::default() });
    assert_eq!(names(&first), ["a/1", "a/2", "b/1"]);
    assert_eq!((first.next.clone(), first.remaining), (Some(key("b/1")), Some(1)));
    store.commit(create("b/0")).await.unwrap();
    store.commit(create("b/2")).await.unwrap();
    let options =
        ListOptions { at: At::Exact(first.revision), after: first.next, ..ListOptions::default() };
    let second = list(&store, &options);
    assert_eq!((names(&second), second.revision), (vec!["c/1".to_owned()], first.revision));
    let latest = list(&store, &ListOptions { at: At::Latest, ..options });
    assert_eq!(names(&latest), ["b/2", "c/1"]);
}

#[tokio::test]
async fn a_filtered_page_announces_more_only_when_more_matches() {
    let store = filled().await;
    let filter: Filter<'_> = &|version| version.key.name == "1";
    let options = ListOptions { filter: Some(filter), limit: limit(2), ..ListOptions::default() };
    let page = list(&store, &options);
    assert_eq!((names(&page), page.remaining), (vec!["a/1".to_owned(), "b/1".to_owned()], None));
    assert_eq!(page.next, Some(key("b/1")));
    let page = list(&store, &ListOptions { limit: limit(3), ..options });
    assert_eq!((page.items.len(), page.next), (3, None));
}

#[tokio::test]
async fn an_exact_list_shows_the_past() {
    let store = filled().await;
    let then = store.revision();
    let b1 = store.get(&pods(), &key("b/1")).unwrap().revision;
    store.commit(delete("b/1", b1)).await.unwrap();
    store.commit(create("a/3")).await.unwrap();
    let a1 = store.get(&pods(), &key("a/1")).unwrap().revision;
    store.commit(update("a/1", a1, 7)).await.unwrap();

    let page = list(&store, &ListOptions { at: At::Exact(then), ..ListOptions::default() });
    assert_eq!(names(&page), ["a/1", "a/2", "b/1", "c/1"]);
    assert_eq!(page.items[0].revision, a1);
    assert_eq!(page.revision, then);
}

#[tokio::test]
async fn an_exact_list_outside_the_history_is_expired() {
    let store = Store::memory_from(START, tiny_history()).cluster("hub").unwrap();
    for n in 0..5 {
        store.commit(create(&format!("a/{n}"))).await.unwrap();
    }
    let at = |revision| ListOptions { at: At::Exact(revision), ..ListOptions::default() };
    assert_eq!(names(&list(&store, &at(START + 2))), ["a/0", "a/1"]);
    let expired = store.list(&pods(), &at(START + 1)).unwrap_err();
    assert_eq!(expired, Expired { requested: START + 1, oldest: START + 2 });
    assert!(store.list(&pods(), &at(START + 6)).is_err(), "the future is unknown too");
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_when_it_is_visible_or_late() {
    let store = cluster();
    assert!(store.wait_for(START, Duration::ZERO).await);
    assert!(!store.wait_for(START + 1, Duration::from_secs(3)).await);
    let waiting = store.wait_for(START + 1, Duration::from_secs(3));
    let writing = store.commit(create("a/x"));
    let (reached, written) = tokio::join!(waiting, writing);
    written.unwrap();
    assert!(reached);
}

#[tokio::test]
async fn a_store_in_memory_starts_after_those_of_earlier_processes() {
    let earlier = Store::memory().cluster("hub").unwrap();
    let last = earlier.commit(create("a/x")).await.unwrap().revision;
    // That took longer than a microsecond, which is what a revision counts for.
    let later = Store::memory().cluster("hub").unwrap();
    assert!(later.revision() > last);
    assert!(later.watch(&pods(), last).is_err(), "who knew the earlier one must list again");
}
