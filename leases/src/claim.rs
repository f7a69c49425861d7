//! What a holder tells a store.

use std::time::Duration;

/// One use of a lease, as a [`Store`](crate::Store) is told of it: the name of the lease, the
/// holder, and how long the lease lasts.
///
/// Each use makes a new claim, so two uses in one process are two holders.
///
/// ```
/// use async_context_leases::Claim;
/// use std::time::Duration;
///
/// let claim = Claim::new("report", Duration::from_secs(10));
/// let other = Claim::new("report", Duration::from_secs(10));
/// assert_eq!(claim.name(), other.name());
/// assert_ne!(claim.holder(), other.holder());
/// ```
#[derive(Debug, Clone)]
pub struct Claim {
    name: String,
    holder: String,
    pub(crate) ttl: Duration,
}

impl Claim {
    /// Returns a claim of a new holder, with a random name.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let claim = async_context_leases::Claim::new("report", Duration::from_secs(10));
    /// assert_eq!(claim.holder().len(), 32);
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, ttl: Duration) -> Self {
        Self {
            name: name.into(),
            holder: format!("{:032x}", rand::random::<u128>()),
            ttl,
        }
    }

    /// Returns the name of the lease.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let claim = async_context_leases::Claim::new("report", Duration::from_secs(10));
    /// assert_eq!(claim.name(), "report");
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the name of the holder. No other claim has the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let claim = async_context_leases::Claim::new("report", Duration::from_secs(10));
    /// assert!(claim.holder().chars().all(|digit| digit.is_ascii_hexdigit()));
    /// ```
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Returns how long the lease lasts after the store grants or renews it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let claim = async_context_leases::Claim::new("report", Duration::from_secs(10));
    /// assert_eq!(claim.ttl(), Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}
