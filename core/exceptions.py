"""Every error Mqueduct raises on purpose.

::

    MqueductError
    ├── ConfigurationError        a setting is missing or wrong
    ├── RoutingError              a route cannot work; found at start-up
    │   ├── PatternError          the topic pattern is illegal
    │   ├── BindingError          the action asks for what its route cannot supply
    │   ├── DuplicateRouteName    two routes share a name
    │   └── RouteFileError        a file in routes/ cannot be used
    ├── PayloadError              a message's payload cannot be used
    │   ├── UndecodablePayload    it is not what the route expects to decode (JSON, UTF-8)
    │   └── InvalidPayload        it decodes, but does not fit the declared type
    ├── Reject                    a handler or middleware will not have this message
    ├── BrokerError               the MQTT side
    │   ├── BrokerUnavailable     not reachable now; trying again may help
    │   │   └── ProtocolError     the broker broke the MQTT protocol; the connection was given up
    │   ├── BrokerRefused         refused for good: credentials, rights, client id
    │   └── PublishError          a message could not be published
    └── DatabaseError             the SQL side
        ├── DatabaseNotConfigured Model is used before Model.configure()
        ├── DatabaseUnavailable   infrastructure: not reachable, overloaded, shutting down
        │   └── Contention            another transaction was in the way; repeating this one may do
        ├── SchemaError           a table or column is missing in the database
        ├── MigrationError        the database does not stand where its migrations should have brought it
        ├── UnknownField          a name that the model does not have
        ├── NotLoaded             an attribute that was not loaded with its row, and was read without await
        ├── NotSupportedError     what this database cannot do, and another could
        ├── InvalidQuery          a page, filter, order or search that cannot be run as it was asked for
        │   └── InvalidCursor     a cursor that was changed, or belongs to another list
        └── InvalidValue          a value the column refuses
            ├── UniqueViolation      another row already has this key
            ├── ForeignKeyViolation  the row that is referred to is missing, or is still referred to
            ├── NotNullViolation     a column must have a value
            ├── CheckViolation       a CHECK of the table says no
            └── ValueOutOfRange      a number is too large for its column, a text too long, a time impossible
"""

from collections.abc import Sequence

__all__ = [
    "BindingError",
    "BrokerError",
    "BrokerRefused",
    "BrokerUnavailable",
    "CheckViolation",
    "ConfigurationError",
    "Contention",
    "DatabaseError",
    "DatabaseNotConfigured",
    "DatabaseUnavailable",
    "DuplicateRouteName",
    "ForeignKeyViolation",
    "InvalidCursor",
    "InvalidPayload",
    "InvalidQuery",
    "InvalidValue",
    "MigrationError",
    "MqueductError",
    "NotLoaded",
    "NotNullViolation",
    "NotSupportedError",
    "PatternError",
    "PayloadError",
    "ProtocolError",
    "PublishError",
    "Reject",
    "RouteFileError",
    "RoutingError",
    "SchemaError",
    "UndecodablePayload",
    "UniqueViolation",
    "UnknownField",
    "ValueOutOfRange",
    "described",
    "words_of",
]


class MqueductError(Exception):
    """The root of all errors that Mqueduct raises on purpose."""


class ConfigurationError(MqueductError):
    """A setting is missing or wrong; the message lists every problem and its fix."""


class RoutingError(MqueductError):
    """A route cannot work; raised at start-up and naming file, pattern and fix."""


class PatternError(RoutingError):
    """A topic pattern is illegal."""


class BindingError(RoutingError):
    """An action asks for an argument that its route cannot supply."""


class DuplicateRouteName(RoutingError):
    """Two routes share one name."""


class RouteFileError(RoutingError):
    """A file in ``routes/`` fails to import or has no ``router``."""


class PayloadError(MqueductError):
    """A message's payload cannot be used; the message becomes a dead letter, the service goes on."""


class UndecodablePayload(PayloadError):
    """The payload is not in the format that its route decodes."""


class InvalidPayload(PayloadError):
    """The payload decodes, but does not fit the type its route declares."""


class Reject(MqueductError):
    """Raise it in a handler or a middleware to set a message aside: ``raise Reject("why")``.

    The message becomes a dead letter with that reason and is acknowledged; nothing tries it again by itself.
    """


class BrokerError(MqueductError):
    """Something between Mqueduct and the MQTT broker went wrong."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached now, or the connection was lost; trying again may help."""


class ProtocolError(BrokerUnavailable):
    """The broker sent what MQTT forbids, so the connection was given up; a new one may do better.

    Attributes:
        code: The reason code sent back to it in DISCONNECT (MQTT 5 section 2.4).
    """

    def __init__(self, message: str, code: int = 0x82) -> None:
        super().__init__(message)
        self.code = code


class BrokerRefused(BrokerError):
    """The broker refuses this client for good; trying again with the same settings cannot help."""


class PublishError(BrokerError):
    """A message could not be handed to the broker."""


class DatabaseError(MqueductError):
    """Something between Mqueduct and the database went wrong."""


class DatabaseNotConfigured(DatabaseError):
    """A model is used before a database was configured."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or cannot serve now; the same work may succeed later."""


class Contention(DatabaseUnavailable):
    """Another transaction was in the way (deadlock, serialization failure); the same one may succeed when repeated."""


class SchemaError(DatabaseError):
    """The database lacks a table, a column or a right that the models expect."""


class MigrationError(DatabaseError):
    """A revision failed, or the database is not at the revision that this version of the service needs."""


class UnknownField(DatabaseError):
    """A model was given a field that it does not have."""


class NotLoaded(DatabaseError):
    """An attribute was not loaded together with its row; the message says how to await it."""


class NotSupportedError(DatabaseError):
    """The installed database cannot do this; the message names those that can."""


class InvalidQuery(DatabaseError):
    """A page, filter, order or search cannot be run as it was asked for; the message says what is wrong with it."""


class InvalidCursor(InvalidQuery):
    """A cursor was changed, or was made for another list, another order or with another key."""


class InvalidValue(DatabaseError):
    """A column or constraint refuses a value; the same row will never be accepted.

    Attributes:
        table: The table, or ``""`` where the database does not say.
        columns: The columns that are at fault, as far as they are known.
        constraint: The name of the constraint, or ``""``.
    """

    def __init__(self, message: str = "", table: str = "", columns: Sequence[str] = (), constraint: str = "") -> None:
        super().__init__(message)
        self.table = table
        self.columns = tuple(columns)
        self.constraint = constraint


class UniqueViolation(InvalidValue):
    """Another row already holds the same unique key."""


class ForeignKeyViolation(InvalidValue):
    """The row that is referred to does not exist, or one that is to go is still referred to."""


class NotNullViolation(InvalidValue):
    """A column that must have a value has none."""


class CheckViolation(InvalidValue):
    """A CHECK constraint of the table refuses the row."""


class ValueOutOfRange(InvalidValue):
    """A number does not fit in the bits or digits of its column, a text in its length, a time in the calendar."""


def described(error: BaseException) -> str:
    """The class and the text of any error, in one line."""
    return f"{type(error).__name__}: {words_of(error)}"


def words_of(error: BaseException) -> str:
    """The text of any error, also of one that fails when it is asked for its text."""
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001 - the class is the user's, and may do anything
        return f"no text: its __str__ raised {type(failure).__name__}"
