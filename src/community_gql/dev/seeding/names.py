# ruff: noqa: RUF001 (names in many scripts hold letters that look like others)
"""The names of the seeded people, and the addresses made from them."""

from __future__ import annotations

import unicodedata

from community_gql.dev.seeding.themes import lines

_NAMES = """
    Ada Alice Clara Edith Florence George Harriet Henry Iris James Martha Oliver Rose Thomas Walter
    : Ashworth Barker Clarke Fletcher Hughes Marsh Parker Pemberton Reed Turner Walsh Whitfield
    Amélie Aurélie Benoît Chloé Élodie François Hélène Jérôme Léa Mathéo Noémie Océane Rémi Théo Zoé
    : Béranger Chevalier Delacroix Dubois Fontaine Garnier Lefèvre Moreau Perrin Rousseau Thibault
    Alejandro Begoña Camila Diego Elena Íñigo Joaquín Lucía María Mateo Noelia Rocío Sofía Tomás
    : Álvarez Castañeda Domínguez Fernández García Ibáñez Muñoz Núñez Peña Ramírez Torres Vázquez
    Ana Bruno Caetano Débora Fábio Inês João Júlia Larissa Luís Natália Otávio Renata Tiago Vitória
    : Almeida Araújo Barbosa Carvalho Conceição Ferreira Gonçalves Lourenço Magalhães Ribeiro Simões
    Anneliese Björn Dörte Emil Fritzi Gesa Jürgen Käthe Lotte Matthias Rüdiger Sören Ulrike Wiebke
    : Böhm Brüggemann Eßer Fuchs Großmann Hübner Jäger Köhler Lüders Möller Schäfer Weiß Zöllner
    Agnieszka Bogusława Czesław Elżbieta Grażyna Jędrzej Kasia Łukasz Małgorzata Paweł Stanisław
    : Błaszczyk Dąbrowski Gołębiowska Jabłoński Kamiński Kowalczyk Nowak Szymańska Wójcik Zięba
    Åsa Astrid Eirik Freja Gunnar Håkon Ingrid Jørgen Linnéa Maja Ole Pål Signe Søren Øyvind
    : Ångström Bergström Dahl Hansen Håland Lindqvist Nygård Ødegård Sjöberg Strøm Sørensen Vik
    Айгуль Алексей Борис Вера Галина Дмитрий Ирина Лариса Михаил Наталья Ольга Павел Светлана Тимур
    : Абрамов Белый Волков Гусев Ежов Зайченко Кузнец Лебедь Морозенко Орлюк Соколюк Шевченко
    Amara Chidi Chinwe Emeka Folasade Ifeoma Kelechi Ngozi Obinna Olúwaṣeun Ṣadé Tobi Uche Yetunde
    : Adébáyọ̀ Achebe Adeyemi Balogun Ekwueme Eze Ibekwe Nwosu Obi Ogunleye Okafor Olatunji Onyeka
    Aarav Ananya Arjun Deepa Farhan Gauri Ishaan Kavya Lakshmi Meera Nikhil Priya Rohan Sanjay Zara
    : Banerjee Chatterjee Desai Fernandes Gupta Iyer Kapoor Khan Menon Nair Patel Rao Reddy Sharma
    Aylin Barış Çağla Deniz Ebru Gülşen Hakan Levent Murat Özlem Pınar Selin Şule Tolga Ümit Yağmur
    : Aksoy Bayındır Çelik Demir Erdoğmuş Güneş Kaya Koç Öztürk Şahin Tekin Yıldız Yılmaz Zengin
    Ahmed Fatima Hana Ibrahim Karim Laila Mariam Nour Omar Rania Salma Samir Tariq Yasmin Youssef
    : al-Amin Barakat Darwish El-Sayed Farouk Haddad Hassan Khalil Mansour Nasser Rahman Saleh
    Ayumi Daiki Emi Haruto Hina Kaito Kenji Mei Naoko Ren Sakura Sōta Takeshi Yūki Yuriko 美咲 翔太
    : Fujimoto Hayashi Inoue Ishikawa Kobayashi Matsuda Nakamura Ōno Satō Suzuki Tanaka 山本
    Anh Bảo Chi Đức Giang Hương Khánh Lan Linh Mai Ngọc Phương Quân Thảo Trang Tuấn 志明 小雨 雅婷
    : Bùi Đặng Đinh Dương Hồ Lê Ngô Nguyễn Phạm Phan Trần Võ Vũ 陈 林 王 張
    Akosua Aroha Bheki Kaʻiulani Keoni Kofi Kwame Lerato Mereana Naledi Sione Tāne Thandiwe Wanjirũ
    : Asante Boateng Dlamini Kamau Kealoha Kekoa Mahlangu Mensah Mokoena Ngata Nkosi Otieno Tāwhai
"""


def _names(text: str) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    rows = [line.removeprefix(":").split() for line in lines(text)]
    return tuple(
        (tuple(given), tuple(family)) for given, family in zip(rows[::2], rows[1::2], strict=True)
    )


NAMES = _names(_NAMES)
"""Given and family names, kept together by where they're at home."""

_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ß": "ss", "ı": "i", "æ": "ae", "å": "a", "ö": "oe", "ü": "ue"}
)


def mailbox(name: str) -> str:
    """Return ``name`` as the local part of an address: ASCII, or ``member`` for other scripts."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    words = ("".join(c for c in word if c.isascii() and c.isalnum()) for word in plain.split())
    return ".".join(word for word in words if word) or "member"
