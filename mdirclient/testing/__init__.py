"""Contract suites: what every implementation of an interface must pass.

Derive a test class and give it the fixture that the suite names. Needs the extra `testing`.
"""

from mdirclient.testing.mdird import MdirdContract
from mdirclient.testing.mstore import MstoreContract

__all__ = ["MdirdContract", "MstoreContract"]
