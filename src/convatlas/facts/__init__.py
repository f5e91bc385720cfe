"""Published figures of the networks, as data, and the check of them against what is built here."""

from .published import Fact as Fact
from .published import published as published
from .verdicts import Erratum as Erratum
from .verdicts import Verdict as Verdict
from .verdicts import check as check
from .verdicts import errata as errata
