// The table can be read without this: what it adds are sorting and filtering, by DataTables.
const code = Uint8Array.from(atob({{ code }}), (sign) => sign.charCodeAt(0));
const place = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
import(place).then(({ jQuery }) => {
  // What has no number stands last, whichever way the others are sorted.
  const last = (sign) => (a, b) => a === "" ? (b === "" ? 0 : 1) : b === "" ? -1 : sign * (a - b);
  Object.assign(jQuery.fn.dataTable.ext.type.order, { "known-asc": last(1), "known-desc": last(-1) });
  jQuery("#all").DataTable({
    paging: false, info: true, order: [], columnDefs: [{ targets: [2, 3, 4, 5], type: "known" }], autoWidth: false,
    language: { search: "Filter, by any words:", info: "_TOTAL_ numbers", infoEmpty: "no numbers", infoFiltered: "of _MAX_" },
  });
});
