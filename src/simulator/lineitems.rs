//! The line items of each context: found, made, listed in pages, taken away. Plain data; who may do what is `ags.rs`'s
//! business.
//!
//! Like the real platforms it keeps nothing unique: the same POST twice makes two columns.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::locked;

/// One column.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct LineItem {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) score_maximum: f64,
    pub(super) resource_link_id: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) origin: Origin,
}

/// Whose a column is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    /// The platform's own, with an activity behind it: it was there when the simulated LMS began, or a teacher made it.
    Activity,
    /// The tool made it by AGS.
    #[default]
    Tool,
    /// Another tool's, which this one may neither see nor touch.
    AnotherTool,
}

/// One column, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its id within the context.
    pub id: String,
    /// `resourceId`.
    pub resource_id: Option<String>,
    /// `resourceLinkId`.
    pub resource_link_id: Option<String>,
    /// `tag`.
    pub tag: Option<String>,
}

/// What a listing asks for. A filter that is not given lets everything through.
pub(super) struct Listing {
    pub(super) resource_link_id: Option<String>,
    pub(super) resource_id: Option<String>,
    pub(super) tag: Option<String>,
    pub(super) limit: usize,
    /// The cursor that the page before ended with; 0 for the first.
    pub(super) from: u64,
}

/// One page, and the cursor of the next if there is more.
pub(super) struct Page {
    pub(super) items: Vec<LineItem>,
    pub(super) next: Option<u64>,
}

/// All contexts.
pub(super) struct LineItems {
    auto: bool,
    contexts: Mutex<HashMap<String, Context>>,
}

/// The items in order of their making, by a number that is never given twice; it is the cursor of a listing.
#[derive(Default)]
struct Context {
    items: BTreeMap<u64, LineItem>,
    number_by_id: HashMap<String, u64>,
    last_number: u64,
    /// What was deleted does not come into being again by being used.
    deleted: HashSet<String>,
}

impl LineItems {
    pub(super) fn new(auto: bool, contexts: &[(String, Vec<String>)]) -> Self {
        let filled = |ids: &[String]| {
            let mut context = Context::default();
            for id in ids {
                if !context.number_by_id.contains_key(id) {
                    context.add(LineItem::named(id));
                }
            }
            context
        };
        let contexts = contexts.iter().map(|(id, items)| (id.clone(), filled(items))).collect();
        Self { auto, contexts: Mutex::new(contexts) }
    }

    /// The line item, which is made on the way if that is allowed.
    pub(super) fn find(&self, context: &str, id: &str) -> Option<LineItem> {
        self.within(context, |context| {
            if self.auto && !context.number_by_id.contains_key(id) && !context.deleted.contains(id) {
                context.add(LineItem::named(id));
            }
            context.items.get(context.number_by_id.get(id)?).cloned()
        })?
    }

    /// Makes a line item under an id of its own; `None` if there is no such context.
    pub(super) fn create(&self, context: &str, item: LineItem) -> Option<LineItem> {
        self.within(context, |context| {
            let mut number = context.last_number + 1;
            while context.number_by_id.contains_key(&number.to_string()) {
                number += 1;
            }
            let item = LineItem { id: number.to_string(), ..item };
            context.add(item.clone());
            item
        })
    }

    /// Changes a line item; where there is none it is made, and its context with it. The item, and whether it is new.
    pub(super) fn put(&self, context: &str, id: &str, change: impl FnOnce(&mut LineItem)) -> (LineItem, bool) {
        let mut contexts = locked(&self.contexts);
        let context = contexts.entry(context.to_owned()).or_default();
        let number = context.number_by_id.get(id).copied();
        if let Some(item) = number.and_then(|number| context.items.get_mut(&number)) {
            change(item);
            return (item.clone(), false);
        }
        let mut item = LineItem::named(id);
        change(&mut item);
        context.add(item.clone());
        (item, true)
    }

    /// Every line item with its context, in order of the contexts and then of their making.
    pub(super) fn all(&self) -> Vec<(String, LineItem)> {
        let contexts = locked(&self.contexts);
        let ordered: BTreeMap<_, _> = contexts.iter().collect();
        let items = |(name, context): (&String, &Context)| {
            context.items.values().map(|item| (name.clone(), item.clone())).collect::<Vec<_>>()
        };
        ordered.into_iter().flat_map(items).collect()
    }

    /// One page of a listing; `None` if there is no such context.
    pub(super) fn list(&self, context: &str, listing: &Listing) -> Option<Page> {
        self.within(context, |context| {
            let mut wanted = context.items.range(listing.from..).filter(|(_, item)| listing.wants(item));
            let items = wanted.by_ref().take(listing.limit).map(|(_, item)| item.clone()).collect();
            Page { items, next: wanted.next().map(|(number, _)| *number) }
        })
    }

    /// Takes a line item away; whether it was there.
    pub(super) fn remove(&self, context: &str, id: &str) -> bool {
        let mut contexts = locked(&self.contexts);
        let Some(context) = contexts.get_mut(context) else {
            return false;
        };
        let Some(number) = context.number_by_id.remove(id) else {
            return false;
        };
        context.deleted.insert(id.to_owned());
        context.items.remove(&number).is_some()
    }

    /// The contexts with the ids of their items, in order.
    pub(super) fn contexts(&self) -> BTreeMap<String, Vec<String>> {
        let ids = |context: &Context| context.items.values().map(|item| item.id.clone()).collect();
        locked(&self.contexts).iter().map(|(id, context)| (id.clone(), ids(context))).collect()
    }

    /// The columns of a context, in order.
    pub(super) fn columns(&self, context: &str) -> Vec<Column> {
        let column = |item: &LineItem| Column {
            id: item.id.clone(),
            resource_id: item.resource_id.clone(),
            resource_link_id: item.resource_link_id.clone(),
            tag: item.tag.clone(),
        };
        let contexts = locked(&self.contexts);
        contexts.get(context).map(|context| context.items.values().map(column).collect()).unwrap_or_default()
    }

    fn within<T>(&self, context: &str, work: impl FnOnce(&mut Context) -> T) -> Option<T> {
        let mut contexts = locked(&self.contexts);
        if self.auto && !contexts.contains_key(context) {
            contexts.insert(context.to_owned(), Context::default());
        }
        contexts.get_mut(context).map(work)
    }
}

impl LineItem {
    /// A column that nobody described: the id serves as its resource id too.
    fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: format!("Column {id}"),
            score_maximum: 100.0,
            resource_id: Some(id.to_owned()),
            origin: Origin::Activity,
            ..Self::default()
        }
    }
}

impl Listing {
    fn wants(&self, item: &LineItem) -> bool {
        let agrees = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        item.origin != Origin::AnotherTool
            && agrees(&self.resource_link_id, &item.resource_link_id)
            && agrees(&self.resource_id, &item.resource_id)
            && agrees(&self.tag, &item.tag)
    }
}

impl Context {
    fn add(&mut self, item: LineItem) {
        self.deleted.remove(&item.id);
        self.last_number += 1;
        self.number_by_id.insert(item.id.clone(), self.last_number);
        self.items.insert(self.last_number, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(auto: bool) -> LineItems {
        LineItems::new(auto, &[("c".to_owned(), vec!["a".to_owned(), "1".to_owned(), "a".to_owned()])])
    }

    #[test]
    fn columns_come_into_being_only_where_that_is_allowed() {
        assert!(items(false).find("c", "a").is_some());
        assert!(items(false).find("c", "z").is_none());
        assert!(items(false).find("d", "a").is_none());
        assert!(items(true).find("c", "z").is_some());
        assert!(items(true).find("d", "a").is_some());
        let auto = items(true);
        assert!(auto.remove("c", "a") && auto.find("c", "a").is_none(), "what was deleted stays away");
    }

    #[test]
    fn made_and_deleted_items_never_share_an_id() {
        let items = items(false);
        let make = || items.create("c", LineItem::default()).expect("the context is there").id;
        let first = make();
        assert_ne!(first, "1", "an id that is taken is passed over");
        assert!(items.remove("c", &first) && !items.remove("c", &first));
        assert!(items.find("c", &first).is_none());
        assert_ne!(make(), first);
        assert!(items.create("d", LineItem::default()).is_none());
        assert_eq!(items.contexts()["c"].len(), 3);
    }
}
