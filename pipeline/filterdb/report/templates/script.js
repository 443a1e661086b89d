'use strict';
(() => {
  const words = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
  const said = (row, column) => row.cells[column].textContent.trim();

  // What is no number (a dash) stays last, whichever way a column is sorted.
  const number = (text) => Number.parseFloat(text.replaceAll(',', '').replace('\u2212', '-'));

  const sort = (table, header, column) => {
    const rising = header.classList.contains('number')
      ? header.getAttribute('aria-sort') === 'descending'
      : header.getAttribute('aria-sort') !== 'ascending';
    const sign = rising ? 1 : -1;
    const numeric = header.classList.contains('number');
    const rows = [...table.tBodies[0].rows].map((row) => {
      const text = said(row, column);
      return { row, text, value: number(text) };
    });
    rows.sort((a, b) => {
      if (!numeric) return sign * words.compare(a.text, b.text);
      const missing = Number.isNaN(a.value) - Number.isNaN(b.value);
      return missing || (Number.isNaN(a.value) ? 0 : sign * (a.value - b.value));
    });
    table.tBodies[0].append(...rows.map(({ row }) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
    header.setAttribute('aria-sort', rising ? 'ascending' : 'descending');
  };

  const filter = (table, form) => {
    const tokens = form.querySelector('input').value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const chosen = [...form.querySelectorAll('select')].filter((select) => select.value !== '');
    const rows = [...table.tBodies[0].rows];
    let shown = 0;
    for (const row of rows) {
      row.searched ??= row.textContent.toLocaleLowerCase();
      const fits = tokens.every((token) => row.searched.includes(token))
        && chosen.every((select) => said(row, Number(select.dataset.column)) === select.value);
      row.hidden = !fits;
      shown += fits;
    }
    const all = rows.length.toLocaleString('en');
    form.querySelector('output').value = shown === rows.length
      ? `${all} rows` : `${shown.toLocaleString('en')} of ${all} rows`;
  };

  for (const table of document.querySelectorAll('table[data-tools]')) {
    for (const [column, header] of [...table.tHead.rows[0].cells].entries()) {
      if (header.classList.contains('image')) continue;
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...header.childNodes);
      button.addEventListener('click', () => sort(table, header, column));
      header.append(button);
    }
    const form = table.closest('.table').querySelector('form');
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', () => filter(table, form));
    form.hidden = false;
    filter(table, form);
  }

  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const fold = target?.closest('details');
    if (!fold) return;
    fold.open = true;
    fold.querySelector('summary').focus({ preventScroll: true });
    fold.scrollIntoView();
  };
  addEventListener('hashchange', unfold);
  unfold();

  const folded = [];
  addEventListener('beforeprint', () => {
    folded.push(...document.querySelectorAll('details:not([open])'));
    for (const fold of folded) fold.open = true;
  });
  addEventListener('afterprint', () => {
    for (const fold of folded.splice(0)) fold.open = false;
  });
})();
