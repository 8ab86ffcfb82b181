"""Words of the generated data: countries with their ways of naming, and the pick lists of a life-sciences CRM."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from faker import Faker
from faker.providers.address.it_IT import Provider as ItalianAddresses

_POOL_SIZE = 250
_TRANSLITERATED = str.maketrans({"ß": "ss", "ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "æ": "ae", "đ": "d"})

# How accounts are named, by type: {c} is a city, {l} and {m} are last names.
_NAMING: dict[str, dict[str, tuple[str, ...]]] = {
    "de_DE": {
        "Hospital": ("Klinikum {c}", "Universitätsklinikum {c}", "St.-Josefs-Krankenhaus {c}", "Städtische Klinik {c}"),
        "Clinic": ("MVZ {c} GmbH & Co. KG", "Fachklinik {l}, {c}", "Tagesklinik {c}"),
        "Pharmacy": ("{l}-Apotheke", 'Apotheke "Zum goldenen Löwen", {c}', "Bären-Apotheke {c}"),
        "Practice": ("Praxis Dr. {l}", "Gemeinschaftspraxis Dr. {l} & Dr. {m}", "Hausärzte {l} + {m}"),
    },
    "fr_FR": {
        "Hospital": ("Centre Hospitalier de {c}", "CHU {c}", "Hôpital de l'Étoile, {c}"),
        "Clinic": ("Clinique {l}", "Clinique Saint-Rémy de {c}", "Polyclinique {c}"),
        "Pharmacy": ("Pharmacie {l}", "Pharmacie de l'Hôtel de Ville, {c}", "Pharmacie {l} & Fils"),
        "Practice": ("Cabinet du Dr {l}", "Maison de santé {c}", "Cabinet {l} & {m}"),
    },
    "it_IT": {
        "Hospital": ("Ospedale Civile di {c}", "Policlinico {c}", "Ospedale Sant'Anna, {c}"),
        "Clinic": ("Casa di Cura {l}", "Clinica Villa {l}", "Poliambulatorio {c}"),
        "Pharmacy": ("Farmacia {l}", "Antica Farmacia {l} & C.", "Farmacia dell'Università, {c}"),
        "Practice": ("Studio Medico {l}", "Studio Medico Associato {l}-{m}"),
    },
    "es_ES": {
        "Hospital": ("Hospital Universitario de {c}", "Hospital Nuestra Señora de {l}", "Hospital General de {c}"),
        "Clinic": ("Clínica {l}", "Centro Médico {c}", "Clínica {l} y {m}"),
        "Pharmacy": ("Farmacia {l}", "Farmacia Peña & {l}", "Farmacia Lcda. {l}"),
        "Practice": ("Consulta Dra. {l}", "Consultorio {l} {m}"),
    },
    "en_GB": {
        "Hospital": ("{c} General Hospital", "St Mary's Hospital, {c}", "{c} University Hospitals NHS Trust"),
        "Clinic": ("{l} Clinic", "{c} Health Centre", 'The "{l} & {m}" Clinic'),
        "Pharmacy": ("{l} Pharmacy", "{l} & Sons Chemists", "Queen's Road Pharmacy, {c}"),
        "Practice": ("{c} Surgery", "Drs {l} & {m}", "The {l} Practice"),
    },
    "pl_PL": {
        "Hospital": ("Szpital Miejski w {c}", "Szpital Kliniczny {c}", "Wojewódzki Szpital Specjalistyczny {c}"),
        "Clinic": ("Przychodnia {c}", "Centrum Medyczne {l}", "Klinika {l} & {m}"),
        "Pharmacy": ('Apteka "Pod Żółtą Różą", {c}', "Apteka {l}"),
        "Practice": ("Gabinet lekarski {l}", "Praktyka {l} i {m}"),
    },
    "sv_SE": {
        "Hospital": ("{c} lasarett", "Akademiska sjukhuset {c}", "Länssjukhuset {c}"),
        "Clinic": ("{l}kliniken AB", "Vårdcentralen {c}", "Läkarhuset {c}"),
        "Pharmacy": ("Apoteket Älgen, {c}", "Apotek {l} & {m}"),
        "Practice": ("Läkarmottagningen {l}", "Dr {l} Mottagning"),
    },
    "nl_NL": {
        "Hospital": ("Ziekenhuis {c}", "Medisch Centrum {c}", "St. Antonius Ziekenhuis, {c}"),
        "Clinic": ("Kliniek {l}", "Polikliniek {c}", "Behandelcentrum 's-{l}"),
        "Pharmacy": ("Apotheek {l}", "Apotheek {l} & {m}"),
        "Practice": ("Huisartsenpraktijk {l}", "Huisartsen {l} & {m}"),
    },
}
_COUNTRIES = {
    "de_DE": ("Germany", "EUR", "+49"),
    "fr_FR": ("France", "EUR", "+33"),
    "it_IT": ("Italy", "EUR", "+39"),
    "es_ES": ("Spain", "EUR", "+34"),
    "en_GB": ("United Kingdom", "GBP", "+44"),
    "pl_PL": ("Poland", "PLN", "+48"),
    "sv_SE": ("Sweden", "SEK", "+46"),
    "nl_NL": ("Netherlands", "EUR", "+31"),
}
PARTS_OF_TOWN = ("Nord", "Süd", "Ost", "West", "Mitte")

ACCOUNT_TYPES = ("Practice", "Practice", "Practice", "Pharmacy", "Pharmacy", "Clinic", "Hospital")
INDUSTRIES = ("Cardiology", "Oncology", "Primary Care", "Diabetology", "Neurology", "Dermatology", "Paediatrics", None)
PRIORITIES = ("1-High", "2-Medium", "3-Low", None)
ACCOUNT_STATUSES = ("Active", "Active", "Active", "Active", "Prospect", "Inactive")
CALL_FREQUENCIES = ("2 per month", "1 per month", "1 per quarter", "1 per year", None)
JOB_TITLES = {
    "Hospital": (
        "Chefärztin Kardiologie",
        "Head of Oncology",
        "Ward Nurse",
        "Hospital Pharmacist",
        "Médecin-chef",
        None,
    ),
    "Clinic": ("Medical Director", "Oberarzt", "Specialist, Internal Medicine", "Study Nurse", None),
    "Pharmacy": ("Pharmacist", "Owner & Pharmacist", "Pharmacy Technician", None),
    "Practice": ("General Practitioner", "Cardiologist", "Diabetologist", "Practice Manager", "Receptionist", None),
}
CONTACT_TYPES = ("Physician", "Physician", "Nurse", "Pharmacist", "Administrator", None)
PRODUCTS = ("Cardiolex", "Glucavance XR", "Neurozan", "Immunara", "Dermasol®", "Oncovia", "Respira+")
OPPORTUNITY_NAMES = ("{p} listing", "{p} tender {y}", "Formulary: {p}", "{p} & {q} contract", 'Study "{p} {y}"')
SALES_STAGES = (
    ("Qualified Lead", "Pending", "10"),
    ("Building Vision", "Pending", "25"),
    ("Short List", "Pending", "50"),
    ("Negotiation", "Pending", "75.5"),
    ("Closed/Won", "Won", "100"),
    ("Closed/Lost", "Lost", "0"),
)
SUBJECTS = (
    "Visit: {p}",
    "Detailing {p} & follow-up",
    "Call back about {p}",
    "Drop samples of {p}",
    "Lunch meeting: {p}",
    "Rückfrage zu {p}",
)
ACTIVITY_TYPES = ("Call", "Presentation", "Correspondence", "Sample Drop", None)
CALL_TYPES = ("Account Call", "Professional Call", None)
ACTIVITY_STATUSES = ("Completed", "In Progress", "Not Started", "Deferred")
ORDER_STATUSES = ("Draft", "Submitted", "Shipped", "Shipped", "Cancelled")


@dataclass(frozen=True)
class Country:
    """What one country's records are made of."""

    name: str
    currency: str
    dialing_code: str
    first_names: list[str]
    last_names: list[str]
    cities: list[str]
    streets: list[str]
    postcodes: list[str]
    naming: dict[str, tuple[str, ...]]


@lru_cache(maxsize=4)
def countries(seed: int) -> tuple[Country, ...]:
    """Every country with its pools of names, the same for the same seed."""
    found = []
    for index, (locale, naming) in enumerate(_NAMING.items()):
        fake = Faker(locale)
        fake.seed_instance(seed * 1000 + index)
        name, currency, dialing_code = _COUNTRIES[locale]
        found.append(
            Country(
                name=name,
                currency=currency,
                dialing_code=dialing_code,
                first_names=[fake.first_name() for _ in range(_POOL_SIZE)],
                last_names=[fake.last_name() for _ in range(_POOL_SIZE)],
                cities=list(dict.fromkeys(_city(fake, locale) for _ in range(_POOL_SIZE))),
                streets=[fake.street_address() for _ in range(_POOL_SIZE)],
                postcodes=[fake.postcode() for _ in range(_POOL_SIZE)],
                naming=naming,
            )
        )
    return tuple(found)


def _city(fake: Faker, locale: str) -> str:
    # Faker keeps the Italian cities in a set's order, which is another one in each process.
    return str(fake.random_element(sorted(ItalianAddresses.cities)) if locale == "it_IT" else fake.city())


def ascii_name(text: str) -> str:
    """A name as it stands in a mail address."""
    plain = unicodedata.normalize("NFKD", text.translate(_TRANSLITERATED)).encode("ascii", "ignore").decode()
    return "".join(letter for letter in plain.lower() if letter.isalnum())
